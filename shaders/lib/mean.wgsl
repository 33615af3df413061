// Means of magnitudes that are the host's bit for bit (src/formats/mean.rs), whatever the order of the sum: numbers are whole numbers of a
// step, 2^unit, and a sum of them is a whole number of 64 bits, its low word first.
#import exact

// The step of numbers of which this is the largest magnitude, as bits.
fn mean_unit(largest: u32) -> i32 {
    return max(bitcast<i32>(largest >> 23u) - 156, -149);
}

// Magnitudes, as bits, in whole steps. None is larger than what the step is of.
fn mean_whole4(magnitudes: vec4<u32>, unit: i32) -> vec4<u32> {
    let biased = magnitudes >> vec4<u32>(23u);
    let mantissa = select((magnitudes & vec4<u32>(0x7fffffu)) | vec4<u32>(0x800000u), magnitudes, biased == vec4<u32>());
    let up = vec4<i32>(max(biased, vec4<u32>(1u))) - vec4<i32>(150 + unit);
    let left = vec4<u32>(clamp(up, vec4<i32>(), vec4<i32>(6)));
    return (mantissa << left) >> vec4<u32>(clamp(vec4<i32>() - up, vec4<i32>(), vec4<i32>(31)));
}

// So many steps, an f32 as bits, as a number: as bits.
fn mean_number(steps: u32, unit: i32) -> u32 {
    return exact_moved(steps, unit);
}

fn mean_plus(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    let low = a.x + b.x;
    return vec2<u32>(low, a.y + b.y + u32(low < b.x));
}

// With four more below 2^30.
fn mean_plus4(sum: vec2<u32>, v: vec4<u32>) -> vec2<u32> {
    return mean_plus(sum, vec2<u32>((v.x + v.y) + (v.z + v.w), 0u));
}

// The f32 nearest to a whole number, as bits.
fn mean_float(n: vec2<u32>) -> u32 {
    if ((n.x | n.y) == 0u) { return 0u; }
    var high = n.y;
    var low = n.x;
    var bits = 64u;
    if (high == 0u) {
        high = low;
        low = 0u;
        bits = 32u;
    }
    let up = countLeadingZeros(high);
    if (up > 0u) {
        high = (high << up) | (low >> (32u - up));
        low <<= up;
    }
    return exact_rounded(high >> 1u, ((high & 1u) | low) != 0u, bitcast<i32>(bits - up) - 31);
}

// The mean of `count` magnitudes with this sum, in steps: an f32, as bits.
fn mean_of(sum: vec2<u32>, count: u32) -> u32 {
    return exact_quotient(mean_float(sum), mean_float(vec2<u32>(count, 0u)));
}
