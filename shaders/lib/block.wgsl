// A block of 32 numbers, which one lane holds, as codes: bit for bit what the host makes of it (src/formats/gguf, src/formats/bits.rs).
//
// Only the scale is a quotient, by lib/exact. A code is a product with the scale's inverse, and is taken of it without a sum of
// floats, which a device might fuse: ⌊2·product⌋ is exact, and the rest are integers. Blocks of very small or very large numbers are first
// moved by a power of two, so that neither they nor the inverse are subnormal. Where a number is not finite the codes mean nothing, but
// for those of e4m3.
// Words are laid as src/formats/laid.rs says, so that slot/field/u8 and slot/field/u4 read them.
#import exact
#import half

// Codes of 8 bits, four to a word, and the scale's f16.
struct block_Bytes {
    codes: array<u32, 8>,
    scale: u32,
}

// Codes of 4 bits, eight to a word, and the scale's f16.
struct block_Nibbles {
    codes: vec4<u32>,
    scale: u32,
}

// What a block's numbers are multiplied with to get codes: first 2^by, then the factor.
struct block_Factor {
    by: i32,
    times: f32,
}

// How the numbers that share a scale become codes: what the scale is, and what stands beside it (a zero, a bias), as the bits of f32; or of a
// power of two its exponent. And what numbers are multiplied with, where they are.
struct block_Grid {
    scale: u32,
    beside: u32,
    factor: block_Factor,
}

// The largest of four.
fn block_most(v: vec4<u32>) -> u32 {
    return max(max(v.x, v.y), max(v.z, v.w));
}

// The largest magnitude of each half, as bits.
fn block_magnitudes(v: array<vec4<f32>, 8>) -> vec2<u32> {
    var values = v;
    var most = array<vec4<u32>, 2>();
    #unroll
    for (var i = 0u; i < 8u; i++) {
        most[i >> 2u] = max(most[i >> 2u], bitcast<vec4<u32>>(values[i]) & vec4<u32>(0x7fffffffu));
    }
    return vec2<u32>(block_most(most[0]), block_most(most[1]));
}

// The largest magnitude, as bits.
fn block_magnitude(v: array<vec4<f32>, 8>) -> u32 {
    let halves = block_magnitudes(v);
    return max(halves.x, halves.y);
}

// The number of the largest magnitude of each half; of two opposite ones the positive. As keys, the larger of which is that of both halves
// together: magnitude, then whether it is positive.
fn block_extremes(v: array<vec4<f32>, 8>) -> vec2<u32> {
    var values = v;
    var most = array<vec4<u32>, 2>();
    #unroll
    for (var i = 0u; i < 8u; i++) {
        let bits = bitcast<vec4<u32>>(values[i]);
        most[i >> 2u] = max(most[i >> 2u], (bits << vec4<u32>(1u)) | ((bits >> vec4<u32>(31u)) ^ vec4<u32>(1u)));
    }
    return vec2<u32>(block_most(most[0]), block_most(most[1]));
}

// The sign of such a key, as bits; that of a zero is none.
fn block_extreme_sign(key: u32) -> u32 {
    return select(0u, 0x80000000u, key > 1u && (key & 1u) == 0u);
}

// The bits of the number of the largest magnitude; of two the first. 0 where all are 0.
fn block_peak(v: array<vec4<f32>, 8>) -> u32 {
    var values = v;
    var peak = 0u;
    #unroll
    for (var i = 0u; i < 8u; i++) {
        let quad = bitcast<vec4<u32>>(values[i]);
        // Doubled, bits lose their sign.
        peak = select(peak, quad.x, (quad.x << 1u) > (peak << 1u));
        peak = select(peak, quad.y, (quad.y << 1u) > (peak << 1u));
        peak = select(peak, quad.z, (quad.z << 1u) > (peak << 1u));
        peak = select(peak, quad.w, (quad.w << 1u) > (peak << 1u));
    }
    return peak;
}

// The power of two that brings numbers of this largest magnitude, as bits, to where nothing is subnormal.
fn block_by(magnitude: u32) -> i32 {
    return select(select(0, -64, magnitude >= 0x5d800000u), 64, magnitude < 0x21800000u); // 2^60, 2^-60
}

// Multiplies by `times`, as bits, numbers of which this is the largest magnitude.
fn block_factor(magnitude: u32, times: u32) -> block_Factor {
    let by = block_by(magnitude);
    return block_Factor(by, exact_scaled(bitcast<f32>(times), -by));
}

// Four numbers, moved.
fn block_moved(v: vec4<f32>, by: i32) -> vec4<f32> {
    if (by == 0) { return v; }
    return exact_scaled4(v, by);
}

// Four small codes as the bytes of a word.
fn block_quad(q: vec4<u32>) -> u32 {
    return q.x | (q.y << 8u) | (q.z << 16u) | (q.w << 24u);
}

// Quads of a block of a row of k codes, without those past the end of the row.
fn block_there(codes: array<u32, 8>, block: u32, k: u32) -> array<u32, 8> {
    var quads = codes;
    #unroll
    for (var i = 0u; i < 8u; i++) {
        let first = block * 32u + i * 4u;
        let there = min(max(k, first) - first, 4u);
        quads[i] &= select((1u << (there * 8u % 32u)) - 1u, 0xffffffffu, there == 4u);
    }
    return quads;
}

// Bits that order like numbers.
fn block_key(v: vec4<f32>) -> vec4<u32> {
    let bits = bitcast<vec4<u32>>(v);
    return select(bits | vec4<u32>(0x80000000u), ~bits, bitcast<vec4<i32>>(v) < vec4<i32>());
}

// The number of such bits.
fn block_from_key(key: u32) -> f32 {
    return bitcast<f32>(select(~key, key & 0x7fffffffu, key >= 0x80000000u));
}

// The same as bits, and 0 where it is negative: a device's max may flush what is subnormal.
fn block_above_zero(key: u32) -> u32 {
    return select(0u, key & 0x7fffffffu, key >= 0x80000000u);
}

// The greatest number of each half and the least with its sign turned, both as keys: the larger of two such are those of both together.
fn block_ranges(v: array<vec4<f32>, 8>) -> array<vec2<u32>, 2> {
    var values = v;
    var ranges = array<vec2<u32>, 2>();
    #unroll
    for (var half = 0u; half < 2u; half++) {
        var most = vec4<u32>();
        var least = vec4<u32>();
        #unroll
        for (var i = 0u; i < 4u; i++) {
            let key = block_key(values[half * 4u + i]);
            most = max(most, key);
            // Turning all bits of a key turns the sign of its number, which no device flushes by that.
            least = max(least, ~key);
        }
        ranges[half] = vec2<u32>(block_most(most), block_most(least));
    }
    return ranges;
}

// The same of all.
fn block_range(v: array<vec4<f32>, 8>) -> vec2<u32> {
    let ranges = block_ranges(v);
    return max(ranges[0], ranges[1]);
}

// The difference of two numbers, high and low, of which `magnitude` is the larger, as the bits of the f32 nearest to it.
fn block_span(high: f32, low: f32, magnitude: u32) -> u32 {
    let by = block_by(magnitude);
    return exact_moved(bitcast<u32>(exact_scaled(high, by) - exact_scaled(low, by)) & 0x7fffffffu, -by);
}

// The f32 nearest to the sum or the difference of two magnitudes by `most`, from 1 to 255, where nothing is rounded before.
fn block_step(a: u32, b: u32, minus: bool, most: u32) -> u32 {
    if (max(a, b) == 0u || (minus && a == b)) { return 0u; }
    let more = exact_parts(max(a, b));
    let less = exact_parts(max(min(a, b), 1u));
    let apart = min(more.y - less.y, 31u);
    let added = select(less.x << 7u, 0u, min(a, b) == 0u);
    let cut = ((added >> apart) << apart) != added;
    var sum = (more.x << 7u) + (added >> apart);
    if (minus) { sum = (more.x << 7u) - (added >> apart) - u32(cut); }
    let up = max(countLeadingZeros(sum), 1u) - 1u; // what nearly cancels has its highest bit far below
    sum <<= up;
    // 8 bits fewer are 6 too few.
    let longer = select(0u, 6u, most > 15u);
    let rest = (sum % most) << longer;
    let q = ((sum / most) << longer) + rest / most;
    return exact_rounded(q, rest % most != 0u || cut, bitcast<i32>(more.y) - 157 - i32(longer) - i32(up));
}

// Whether numbers from 0 on, which may be off by so much, are within that of what lies half way between whole numbers.
fn block_near_tie(v: vec4<f32>, off: f32) -> bool {
    return any(abs(v - floor(v) - vec4<f32>(0.5)) <= vec4<f32>(off));
}

// The f32 nearest to v / b, where a device's quotient will not do; b has a sign and is neither 0 nor infinite.
fn block_quotient4(v: vec4<f32>, b: f32) -> vec4<f32> {
    var bits = bitcast<vec4<u32>>(v);
    let under = bitcast<u32>(b);
    #unroll
    for (var i = 0u; i < 4u; i++) {
        bits[i] = exact_quotient(bits[i] & 0x7fffffffu, under & 0x7fffffffu) | ((bits[i] ^ under) & 0x80000000u);
    }
    return bitcast<vec4<f32>>(bits);
}

// The whole numbers from 0 to `most` that are nearest to v / step + zero, to even: those of the f32 nearest to the quotient, which a device's is
// off by 2.5 ulp. That moves a code only next to a tie: what is within ten times as much of one is divided again, by integers. `size` is
// that of the largest quotient or sum on the way. A device may divide by numbers from 2^-126 to 2^126.
fn block_divided4(v: vec4<f32>, step: f32, zero: f32, most: f32, size: f32) -> vec4<u32> {
    var q = clamp(v / step + zero, vec4<f32>(), vec4<f32>(most));
    if (block_near_tie(q, size * 1.9073486328125e-6)) { q = clamp(block_quotient4(v, step) + zero, vec4<f32>(), vec4<f32>(most)); }
    return vec4<u32>(round(q));
}

// How codes by the largest magnitude are made: the scale is that, and numbers are multiplied with its inverse.
fn block_inverse_grid(magnitude: u32) -> block_Grid {
    return block_Grid(magnitude, 0u, block_factor(magnitude, exact_inverse(magnitude)));
}

// Whole numbers about 0, as signed bytes: those nearest to v · factor, which is rounded to f32 first; halves away from 0.
fn block_signed(v: vec4<f32>, factor: block_Factor) -> vec4<u32> {
    let moved = block_moved(v, factor.by);
    let size = (vec4<u32>(abs(moved * factor.times) * 2.0) + vec4<u32>(1u)) >> vec4<u32>(1u);
    return select(size, vec4<u32>() - size, bitcast<vec4<i32>>(v) < vec4<i32>()) & vec4<u32>(255u);
}

// The same with halves to even.
fn block_signed_even(v: vec4<f32>, factor: block_Factor) -> vec4<u32> {
    let one = vec4<u32>(1u);
    let twice = abs(block_moved(v, factor.by) * factor.times) * 2.0;
    let floor = vec4<u32>(twice);
    let tie = (bitcast<vec4<u32>>(vec4<f32>(floor)) == bitcast<vec4<u32>>(twice)) & ((floor & one) == one);
    let up = (floor + one) >> one;
    let size = select(up, up & vec4<u32>(0xfffffffeu), tie);
    return select(size, vec4<u32>() - size, bitcast<vec4<i32>>(v) < vec4<i32>()) & vec4<u32>(255u);
}

// The codes ⌊v · factor + half + 0.5⌋ from 0 to 2·half − 1, where nothing is rounded before. The product is, but that matters only
// where it is a tie then; and then the low words of the mantissas' product say on which side it was, for what they lie beside
// is a multiple of 2^32.
fn block_about(v: vec4<f32>, factor: block_Factor, half: u32) -> vec4<u32> {
    let one = vec4<u32>(1u);
    let moved = block_moved(v, factor.by);
    let twice = abs(moved * factor.times) * 2.0;
    let floor = vec4<u32>(twice);
    let whole = bitcast<vec4<u32>>(vec4<f32>(floor)) == bitcast<vec4<u32>>(twice);
    let mantissas = (bitcast<vec4<u32>>(moved) & vec4<u32>(0x7fffffu)) | vec4<u32>(0x800000u);
    let beside = bitcast<vec4<i32>>(mantissas * ((bitcast<u32>(factor.times) & 0x7fffffu) | 0x800000u));
    let below = whole & (beside < vec4<i32>());
    let negative = (bitcast<vec4<i32>>(v) < vec4<i32>()) != vec4<bool>(factor.times < 0.0);
    // Ties go up: those of negative products to the smaller magnitude.
    let tie = whole & (beside == vec4<i32>()) & ((floor & one) == one) & negative;
    let size = (floor + one - select(vec4<u32>(), one, below & (floor > vec4<u32>())) - select(vec4<u32>(), one, tie)) >> one;
    let middle = vec4<u32>(half);
    return min(select(middle + size, middle - min(size, middle), negative), vec4<u32>(2u * half - 1u));
}

// The scale peak / −half of codes about `half`, with its sign.
fn block_about_scale(peak: u32, half: u32) -> u32 {
    let magnitude = exact_quotient(peak & 0x7fffffffu, bitcast<u32>(f32(half)));
    return magnitude | (~peak & 0x80000000u);
}

// And its inverse.
fn block_about_factor(peak: u32, scale: u32) -> block_Factor {
    return block_factor(peak & 0x7fffffffu, exact_inverse(scale & 0x7fffffffu) | (scale & 0x80000000u));
}

// The f16 of a scale, which is never an infinity.
fn block_f16(scale: u32) -> u32 {
    return half_f16_from_f32(clamp(bitcast<f32>(scale), -65504.0, 65504.0));
}

// Floats of 4 bits, E2M1, of magnitudes as bits: the nearest, of two the even code, or the lower. Without a sign.
fn block_e2m1(size: vec4<u32>, even: bool) -> vec4<u32> {
    // Half way between two of 0, 0.5, 1, 1.5, 2, 3, 4 and 6, as bits: those whose lower code is odd are beyond it where halves go to even.
    let odd = u32(even);
    var code = vec4<u32>(size > vec4<u32>(0x3e800000u)) + vec4<u32>(size > vec4<u32>(0x3f400000u - odd));
    code += vec4<u32>(size > vec4<u32>(0x3fa00000u)) + vec4<u32>(size > vec4<u32>(0x3fe00000u - odd));
    code += vec4<u32>(size > vec4<u32>(0x40200000u)) + vec4<u32>(size > vec4<u32>(0x40600000u - odd));
    return code + vec4<u32>(size > vec4<u32>(0x40a00000u));
}

// What is half way between two of the 16 levels of the IQ4 formats.
const block_IQ4_MIDDLES = array<f32, 15>(
    -115.5, -93.5, -74.0, -57.0, -42.0, -28.5, -16.0, -4.5, 7.0, 19.0, 31.5, 45.5, 61.0, 79.0, 101.0);

// The level nearest to x, of two the first.
fn block_iq4_of(x: vec4<f32>) -> vec4<u32> {
    var code = vec4<u32>();
    #unroll
    for (var i = 0u; i < 15u; i++) { code += vec4<u32>(x > vec4<f32>(block_IQ4_MIDDLES[i])); }
    return code;
}

// The levels nearest to v / step, of two the first; by a step of 0 those nearest to 0. A device's quotient is off by 2.5 ulp, which moves
// a code only next to a middle, and these are whole numbers of halves: what is next to one is divided again, by integers.
fn block_iq4(v: vec4<f32>, step: f32) -> vec4<u32> {
    if (step == 0.0) { return block_iq4_of(vec4<f32>()); }
    var x = v / step;
    let twice = clamp(x, vec4<f32>(-127.0), vec4<f32>(127.0)) * 2.0;
    if (any((abs(twice - round(twice)) <= vec4<f32>(0.0005)) & (abs(twice) > vec4<f32>(8.0)))) { x = block_quotient4(v, step); }
    return block_iq4_of(x);
}

// Floats of 8 bits, sign, 4 of exponent, 3 of mantissa: the nearest, ties to even; at most 448. A NaN stays one.
fn block_e4m3_of(v: vec4<f32>) -> vec4<u32> {
    let bits = bitcast<vec4<u32>>(v);
    let magnitude = bits & vec4<u32>(0x7fffffffu);
    let most = min(magnitude, vec4<u32>(0x43e00000u));
    let normal = ((most + vec4<u32>(0x7ffffu) + ((most >> vec4<u32>(20u)) & vec4<u32>(1u))) >> vec4<u32>(20u)) - vec4<u32>(960u);
    // Below 2^-6 in steps of 2^-9.
    let small = vec4<u32>(round(bitcast<vec4<f32>>(most) * 512.0));
    var code = select(normal, small, magnitude < vec4<u32>(0x3c800000u));
    code = select(code, vec4<u32>(0x7fu), magnitude > vec4<u32>(0x7f800000u));
    return code | ((bits >> vec4<u32>(24u)) & vec4<u32>(0x80u));
}

// The same with 5 of exponent and 2 of mantissa; at most 57344.
fn block_e5m2_of(v: vec4<f32>) -> vec4<u32> {
    let bits = bitcast<vec4<u32>>(v);
    let most = min(bits & vec4<u32>(0x7fffffffu), vec4<u32>(0x47600000u));
    let normal = ((most + vec4<u32>(0xfffffu) + ((most >> vec4<u32>(21u)) & vec4<u32>(1u))) >> vec4<u32>(21u)) - vec4<u32>(448u);
    // Below 2^-14 in steps of 2^-16.
    let small = vec4<u32>(round(bitcast<vec4<f32>>(most) * 65536.0));
    return select(normal, small, most < vec4<u32>(0x38800000u)) | ((bits >> vec4<u32>(24u)) & vec4<u32>(0x80u));
}

// Q8_0: signed bytes, and d = max|v| / 127.
fn block_q8_0(v: array<vec4<f32>, 8>) -> block_Bytes {
    var values = v;
    let magnitude = block_magnitude(v);
    let scale = exact_quotient(magnitude, 0x42fe0000u);
    let factor = block_factor(magnitude, exact_inverse(scale));
    var out: block_Bytes;
    out.scale = block_f16(scale);
    #unroll
    for (var i = 0u; i < 8u; i++) { out.codes[i] = block_quad(block_signed(values[i], factor)); }
    return out;
}

// Q4_0: codes about 8, and d = p / −8 with p the number of the largest magnitude.
fn block_q4_0(v: array<vec4<f32>, 8>) -> block_Nibbles {
    var values = v;
    let peak = block_peak(v);
    let scale = block_about_scale(peak, 8u);
    let factor = block_about_factor(peak, scale);
    var out: block_Nibbles;
    out.scale = block_f16(scale);
    #unroll
    for (var i = 0u; i < 4u; i++) {
        let low = block_quad(block_about(values[2u * i], factor, 8u));
        out.codes[i] = low | (block_quad(block_about(values[2u * i + 1u], factor, 8u)) << 4u);
    }
    return out;
}

// E4M3, four to a word.
fn block_e4m3(v: array<vec4<f32>, 8>) -> array<u32, 8> {
    var values = v;
    var codes: array<u32, 8>;
    #unroll
    for (var i = 0u; i < 8u; i++) { codes[i] = block_quad(block_e4m3_of(values[i])); }
    return codes;
}
