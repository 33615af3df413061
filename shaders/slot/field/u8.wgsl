// Codes of 8 bits: two loads of 16 bytes hold 32.
alias slot_Raw = array<vec4<u32>, 2>;

fn slot_fetch32(at: weight_At, row: u32, block: u32) -> slot_Raw {
    let i = (at.codes >> 2u) + (row * at.blocks + block) * 2u;
    return slot_Raw(outer_data[i], outer_data[i + 1u]);
}

fn slot_codes(v: slot_Raw) -> array<u32, 8> {
    return array<u32, 8>(v[0].x, v[0].y, v[0].z, v[0].w, v[1].x, v[1].y, v[1].z, v[1].w);
}
