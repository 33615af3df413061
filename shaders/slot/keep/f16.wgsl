// Scales in f16, two to a word.
#import block
const slot_BITS = 16u;
fn slot_bits(grid: block_Grid) -> vec2<u32> {
    return vec2<u32>(block_f16(grid.scale), 0u);
}
