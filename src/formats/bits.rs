//! Fields of bits, small floats and fixed tables.

use half::f16;

/// Field i of a stream of `bits`-bit fields in 32-bit words, lowest bits first.
pub(crate) fn field(i: usize, bits: u32, word: impl Fn(usize) -> u32) -> u32 {
    let at = i * bits as usize;
    let (index, shift) = (at / 32, (at % 32) as u32);
    let mut value = word(index) >> shift;
    if shift + bits > 32 {
        value |= word(index + 1) << (32 - shift);
    }
    value & ((1 << bits) - 1)
}

/// Puts field i into such a stream of words, where it was 0.
pub(crate) fn put_field(words: &mut [u32], i: usize, bits: u32, value: u32) {
    let at = i * bits as usize;
    let (index, shift) = (at / 32, (at % 32) as u32);
    words[index] |= value << shift;
    if shift + bits > 32 {
        words[index + 1] |= value >> (32 - shift);
    }
}

/// The low nibble of a byte, or the high one.
pub(crate) fn nibble(byte: u8, high: bool) -> usize {
    usize::from(if high { byte >> 4 } else { byte & 15 })
}

/// A byte as a float with sign, `7 − MANTISSA` bits of exponent and `MANTISSA` of mantissa.
///
/// `MANTISSA = 3` is e4m3 of the finite-only kind: `±(1 + m/8)·2^(e−7)`, `±m·2^−9` where e = 0; 0x7f and 0xff are NaN.
/// `MANTISSA = 2` is e5m2, which is the upper byte of an f16 and has its infinities and NaNs.
pub(crate) fn f8<const MANTISSA: u32>(byte: u8) -> f32 {
    if MANTISSA == 2 {
        return f16::from_bits(u16::from(byte) << 8).to_f32();
    }
    let (sign, low) = (u32::from(byte & 0x80) << 24, u32::from(byte & 0x7f));
    match low {
        0x7f => f32::NAN,
        // Subnormal: m · 2^-9 by a multiplication that is exact.
        0..8 => f32::from_bits(sign | (low as f32 * (1.0 / 512.0)).to_bits()),
        _ => f32::from_bits(sign | ((low << 20) + (120 << 23))),
    }
}

/// The nearest such byte, ties to even; magnitudes beyond the largest number become it.
pub(crate) fn f8_from<const MANTISSA: u32>(v: f32) -> u8 {
    let bias = (1 << (6 - MANTISSA)) - 1;
    let largest: u32 = if MANTISSA == 3 { 0x7e } else { 0x7b };
    let (sign, magnitude) = ((v.to_bits() >> 24) as u8 & 0x80, v.abs());
    let least_normal = f32::from_bits((128 - bias) << 23);
    let code = if magnitude < least_normal {
        // In steps of the smallest subnormal; rounding up to the least normal number gives its code.
        (magnitude / least_normal * (1 << MANTISSA) as f32).round_ties_even() as u32
    } else {
        let (bits, cut) = (magnitude.to_bits(), 23 - MANTISSA);
        let rounded = bits.saturating_add((1 << (cut - 1)) - 1 + ((bits >> cut) & 1));
        (rounded >> cut) - ((127 - bias) << MANTISSA)
    };
    sign | code.min(largest) as u8
}

/// `2^(e − 128)`: half of what an e8m0 scale means, so that 255 is a number too. 0 and 1 give subnormals.
pub(crate) fn half_e8m0(e: u8) -> f32 {
    f32::from_bits(if e < 2 { 0x0020_0000 << e } else { (u32::from(e) - 1) << 23 })
}

/// Twice the E2M1 floats 0, 0.5, 1, 1.5, 2, 3, 4, 6 and their negatives: whole numbers.
pub(crate) const E2M1_DOUBLED: [f32; 16] =
    [0.0, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, -0.0, -1.0, -2.0, -3.0, -4.0, -6.0, -8.0, -12.0];

/// The quantiles of a normal distribution: NF4 of QLoRA (arXiv 2305.14314, appendix E).
#[allow(clippy::excessive_precision, reason = "as published")]
pub(crate) const NF4: [f32; 16] = [
    -1.0,
    -0.6961928009986877,
    -0.5250730514526367,
    -0.39491748809814453,
    -0.28444138169288635,
    -0.18477343022823334,
    -0.09105003625154495,
    0.0,
    0.07958029955625534,
    0.16093020141124725,
    0.24611230194568634,
    0.33791524171829224,
    0.44070982933044434,
    0.5626170039176941,
    0.7229568362236023,
    1.0,
];

/// The FP4 of bitsandbytes: in the order of the bit patterns, not sorted.
pub(crate) const FP4: [f32; 16] = {
    let half = [0.0, 1.0 / 192.0, 2.0 / 3.0, 1.0, 1.0 / 3.0, 1.0 / 2.0, 1.0 / 6.0, 1.0 / 4.0];
    let mut all = [0.0; 16];
    let mut i = 0;
    while i < 8 {
        all[i] = half[i];
        all[i + 8] = -half[i];
        i += 1;
    }
    all
};

/// The index of the nearest table entry; of two, the first.
pub(crate) fn nearest(table: &[f32; 16], v: f32) -> usize {
    let (mut best, mut least) = (0, f32::INFINITY);
    for (i, entry) in table.iter().enumerate() {
        let error = (entry - v).abs();
        if error < least {
            (best, least) = (i, error);
        }
    }
    best
}

/// The largest magnitude.
pub(crate) fn amax(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |most, v| v.abs().max(most))
}

/// `1/d`, or 0 where that is not a number to multiply with.
pub(crate) fn inverse(d: f32) -> f32 {
    let inverse = 1.0 / d;
    if inverse.is_finite() { inverse } else { 0.0 }
}

/// The nearest f16, which is never an infinity.
pub(crate) fn f16_from(v: f32) -> f16 {
    f16::from_f32(v.clamp(-65504.0, 65504.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_floats_are_the_formula() {
        for byte in 0..=255u8 {
            let (sign, low) = (if byte < 128 { 1.0 } else { -1.0 }, i32::from(byte & 127));
            let of = |bits: i32, bias: i32| {
                let (e, m) = (low >> bits, f64::from(low & ((1 << bits) - 1)) / f64::from(1 << bits));
                sign * if e == 0 { m * 2f64.powi(1 - bias) } else { (1.0 + m) * 2f64.powi(e - bias) }
            };
            match low {
                127 => assert!(f8::<3>(byte).is_nan()),
                _ => assert_eq!(f64::from(f8::<3>(byte)), of(3, 7)),
            }
            match low {
                124 => assert_eq!(f64::from(f8::<2>(byte)), sign * f64::INFINITY),
                125.. => assert!(f8::<2>(byte).is_nan()),
                _ => assert_eq!(f64::from(f8::<2>(byte)), of(2, 15)),
            }
            // A number is its own nearest.
            for (value, back) in
                [(f8::<3>(byte), f8_from::<3>(f8::<3>(byte))), (f8::<2>(byte), f8_from::<2>(f8::<2>(byte)))]
            {
                assert!(!value.is_finite() || back == byte, "{byte} {value}");
            }
            assert_eq!(f64::from(half_e8m0(byte)), 2f64.powi(i32::from(byte) - 128));
        }
    }

    #[test]
    fn small_floats_round_to_nearest_even() {
        fn check<const M: u32>(largest: u8) {
            for code in 0..largest {
                let (low, high) = (f8::<M>(code), f8::<M>(code + 1));
                let middle = f32::midpoint(low, high);
                assert_eq!(f8_from::<M>(middle), code + (code & 1), "{middle}");
                assert_eq!(f8_from::<M>(f32::from_bits(middle.to_bits() - 1)), code);
                assert_eq!(f8_from::<M>(-f32::from_bits(middle.to_bits() + 1)), (code + 1) | 128);
            }
            assert_eq!(f8_from::<M>(f32::MAX), largest);
        }
        check::<3>(0x7e);
        check::<2>(0x7b);
    }

    #[test]
    fn fields_come_back() {
        for bits in 1..=8u32 {
            let mut words = [0; 9];
            let values: Vec<u32> = (0..32).map(|i: u32| i.wrapping_mul(2_654_435_761) >> (32 - bits)).collect();
            for (i, v) in values.iter().enumerate() {
                put_field(&mut words, i, bits, *v);
            }
            let back: Vec<u32> = (0..32).map(|i| field(i, bits, |w| words[w])).collect();
            assert_eq!(back, values);
        }
    }
}
