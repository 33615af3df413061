// Codes of 8 bits: two loads of 16 bytes hold 32.
fn slot_load32(at: weight_At, row: u32, block: u32) -> array<u32, 8> {
    let i = (at.codes >> 2u) + (row * at.blocks + block) * 2u;
    let a = outer_data[i];
    let b = outer_data[i + 1u];
    return array<u32, 8>(a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w);
}
