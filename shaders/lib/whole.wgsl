// Whole numbers as f32 by their bits, exactly, without an instruction that converts.
//
// 2^23 has a last place of 1: a number below it, put into the mantissa of 2^23, makes the sum of both, and a subtraction takes 2^23 off again. A number
// that lies p bits up stays where it is, in 2^(23 − p). So four codes of up to 7 bits take a shift, four times "and, or", which GPUs have as one
// instruction, and four subtractions, in which something else that is known goes with them; four bytes take another shift.
// An NVIDIA SM converts 16 whole numbers a clock and does 64 to 128 of any of these (CUDA programming guide, throughput of arithmetic instructions; not
// measured here): an H100's 3 TB/s bring its SM 25 codes of 4 bits a clock. An RDNA3 converts as quickly as it does anything, and has nine operations
// here for eight.

// From −2^22 to 2^22 − 1.
fn whole_signed2(n: vec2<i32>) -> vec2<f32> {
    return bitcast<vec2<f32>>(bitcast<vec2<u32>>(n) + vec2<u32>(0x4b400000u)) - vec2<f32>(12582912.0);
}

// Four codes of up to 7 bits in bytes, less a whole number below 2^14 that a compiler knows. Three of them stay where they are.
fn whole_codes(quad: u32, less: f32) -> vec4<f32> {
    let bits = vec3<u32>(quad) & vec3<u32>(0x7fu, 0x7f00u, 0x7f0000u);
    return whole_four(vec4<u32>(bits, quad >> 24u), vec4<u32>(0x4b000000u, 0x47000000u, 0x43000000u, 0x4b000000u), less);
}

// Four bytes, likewise. Two stay where they are: what lies higher than 22 bits up is in no mantissa.
fn whole_bytes(quad: u32, less: f32) -> vec4<f32> {
    let low = vec2<u32>(quad) & vec2<u32>(0xffu, 0xff00u);
    let high = vec2<u32>((quad >> 16u) & 0xffu, quad >> 24u);
    return whole_four(vec4<u32>(low, high), vec4<u32>(0x4b000000u, 0x47000000u, 0x4b000000u, 0x4b000000u), less);
}

// Four bytes with signs.
fn whole_signed_bytes(quad: u32) -> vec4<f32> {
    return whole_bytes(quad ^ 0x80808080u, 128.0);
}

// What is in the mantissas of four powers of two, less as much.
fn whole_four(bits: vec4<u32>, powers: vec4<u32>, less: f32) -> vec4<f32> {
    return bitcast<vec4<f32>>(bits | powers) - (bitcast<vec4<f32>>(powers) + vec4<f32>(less));
}
