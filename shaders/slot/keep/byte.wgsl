// Exponents or small floats in bytes, four to a word.
#import block
const slot_BITS = 8u;
fn slot_bits(grid: block_Grid) -> vec2<u32> {
    return vec2<u32>(grid.scale, 0u);
}
