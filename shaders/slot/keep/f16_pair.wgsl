// Scale and zero or bias in f16: one word.
#import block
const slot_BITS = 32u;
fn slot_bits(grid: block_Grid) -> vec2<u32> {
    return vec2<u32>(block_f16(grid.scale) | (block_f16(grid.beside) << 16u), 0u);
}
