// Scales in f32.
#import block
const slot_BITS = 32u;
fn slot_bits(grid: block_Grid) -> vec2<u32> {
    return vec2<u32>(grid.scale, 0u);
}
