//! Means of magnitudes that are the same on every device, whatever the order in which it adds: what `bitnet` and `bcq` take their scales from.
//!
//! Numbers become whole numbers of one step, and those are added without rounding:
//!
//! ```text
//! 2^e ≤ max|v| < 2^(e+1)      unit = 2^max(e − 29, −149)      whole(v) = v/unit, without what is behind the point: |whole| < 2^30
//! mean = Σ|whole| / count, where sum and count are rounded to f32, and their quotient; in units
//! ```
//!
//! A step is 2^−29 of the largest magnitude, a 64th of the last place of an f32 of that size: what is below it counts as 0. A sum of 2^33 such
//! numbers has 63 bits.

/// The step of numbers, as its exponent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unit(i32);

impl Unit {
    /// Of numbers of which this is the largest magnitude.
    pub fn of(largest: f32) -> Self {
        let biased = largest.to_bits() >> 23 & 0xff;
        Self((biased as i32 - 156).max(-149))
    }

    /// Without what is behind the point.
    pub fn whole(self, v: f32) -> i32 {
        (f64::from(v) * self.size().recip()) as i32
    }

    /// So many steps; exact for whole numbers of up to 24 digits. What has more digits than f32 has there loses the last ones, and is not rounded.
    pub fn number(self, steps: f32) -> f32 {
        let exact = f64::from(steps) * self.size();
        let least = f64::from(f32::from_bits(1));
        if exact < f64::from(f32::MIN_POSITIVE) { f32::from_bits((exact / least) as u32) } else { exact as f32 }
    }

    fn size(self) -> f64 {
        2f64.powi(self.0)
    }
}

/// The mean of magnitudes with this sum; 0 of none.
pub(crate) fn mean(sum: u64, count: usize) -> f32 {
    sum as f32 / (count as f32).max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_by_hand() {
        let unit = Unit::of(1.5);
        assert_eq!(unit, Unit(-29));
        assert_eq!(
            [1.5, -1.5, 0.0, 2f32.powi(-29), -2f32.powi(-30)].map(|v| unit.whole(v)),
            [3 << 28, -(3 << 28), 0, 1, 0]
        );
        assert_eq!(unit.number((3 << 28) as f32), 1.5);
        assert_eq!(mean(6 << 28, 4) as u32, 3 << 27);
        assert_eq!(mean(0, 0), 0.0);
        let largest = Unit::of(f32::MAX);
        assert_eq!(largest.whole(f32::MAX), (1 << 30) - (1 << 6));
        assert_eq!(largest.number(largest.whole(f32::MAX) as f32), f32::MAX);
    }

    #[test]
    fn subnormal_numbers_are_whole() {
        let least = f32::from_bits(1);
        let unit = Unit::of(f32::from_bits(5));
        assert_eq!([0.0, least, -f32::from_bits(5)].map(|v| unit.whole(v)), [0, 1, -5]);
        assert_eq!([2.0, 2.75].map(|steps| unit.number(steps).to_bits()), [2, 2]);
        // The largest whose step is the least number that there is, and the next.
        assert_eq!([2f32.powi(-120), 2f32.powi(-119)].map(Unit::of), [Unit(-149), Unit(-148)]);
        assert_eq!(Unit::of(0.0).whole(0.0), 0);
    }
}
