//! Comparing what a kernel gave with what the reference says, within a derived bound.

use crate::kv::KvFormat;
use crate::tensor::Elem;

/// What an output must be.
#[derive(Clone, Debug)]
pub struct Expected {
    /// The output's role.
    pub role: &'static str,
    /// The numbers, before they are rounded to the output's storage.
    pub want: Vec<f64>,
    /// How far each may be off by the arithmetic; the rounding to the storage comes on top.
    pub bound: Vec<f64>,
    /// The same for a plan that rounds operands to f16 ([`Plan::operands`](crate::Plan::operands)); empty where no plan does.
    pub rounded: Vec<f64>,
    /// The elements that the reference has no answer for, and that are not compared: of large cases it makes some rows only.
    /// Empty where it has one for all.
    pub unknown: Vec<bool>,
    /// A number is right only as it is; what is subnormal may be zero.
    pub exact: bool,
    /// The output is rows of codes of this width, which are decoded first.
    pub codes: Option<(KvFormat, usize)>,
    /// The least and the greatest number that the output may have, whatever the bounds.
    pub range: [f64; 2],
}

impl Expected {
    /// An output of which every plan takes operands as they are stored.
    pub fn new(role: &'static str, want: Vec<f64>, bound: Vec<f64>) -> Self {
        let range = [f64::NEG_INFINITY, f64::INFINITY];
        Self { role, want, bound, rounded: Vec::new(), unknown: Vec::new(), exact: false, codes: None, range }
    }

    /// An output that is right only as it is.
    pub fn exact(role: &'static str, want: Vec<f64>) -> Self {
        let bound = vec![0.0; want.len()];
        Self { exact: true, ..Self::new(role, want, bound) }
    }

    /// The bounds that a plan is judged by which rounds operands to this.
    pub fn bounds(&self, operands: Option<Elem>) -> &[f64] {
        if operands.is_some() { &self.rounded } else { &self.bound }
    }
}

/// The worst element of an output.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The output's role.
    pub role: String,
    /// Error over bound at the worst element: at most 1 where all is well.
    pub worst: f64,
    /// Its error.
    pub error: f64,
    /// Its bound.
    pub bound: f64,
    /// Which element it is.
    pub index: usize,
    /// What the kernel gave there.
    pub got: f64,
    /// What it should be.
    pub want: f64,
    /// How many elements are out of bounds.
    pub wrong: usize,
    /// How many were compared.
    pub compared: usize,
}

impl Outcome {
    /// Every element is within its bound.
    pub fn ok(&self) -> bool {
        self.wrong == 0
    }
}

/// The bound of one stored element: arithmetic, one rounding to the storage, and the spacing of its smallest numbers, which
/// a device may flush.
fn stored_bound(want: f64, bound: f64, elem: Elem) -> f64 {
    let smallest = match elem {
        Elem::F16 => 2f64.powi(-25),
        // Subnormal f32 and bf16 may become zero.
        Elem::F32 | Elem::Bf16 => 2f64.powi(-126),
        Elem::U32 | Elem::I32 | Elem::I8 | Elem::U8 => 0.0,
    };
    bound + elem.unit_roundoff() * (want.abs() + bound) + smallest
}

/// The bound of an element that is right only as it is: a device may flush it where it is subnormal.
fn exact_bound(want: f64, elem: Elem) -> f64 {
    let normal = match elem {
        Elem::F16 => 2f64.powi(-14),
        Elem::F32 | Elem::Bf16 => 2f64.powi(-126),
        Elem::U32 | Elem::I32 | Elem::I8 | Elem::U8 => 0.0,
    };
    if want.abs() < normal { want.abs() } else { 0.0 }
}

/// Compares an output, of a plan that rounds operands to `operands`, with what it must be. NaN and infinities must match in place.
pub fn compare(expected: &Expected, operands: Option<Elem>, got: &[f32], elem: Elem) -> Outcome {
    let bounds = expected.bounds(operands);
    let mut out = Outcome {
        role: expected.role.to_owned(),
        worst: 0.0,
        error: 0.0,
        bound: 0.0,
        index: 0,
        got: f64::NAN,
        want: f64::NAN,
        wrong: usize::from(got.len() != expected.want.len() || bounds.len() != expected.want.len()),
        compared: got.len(),
    };
    let mut first = true;
    for (index, ((got, want), bound)) in got.iter().zip(&expected.want).zip(bounds).enumerate() {
        if expected.unknown.get(index) == Some(&true) {
            out.compared -= 1;
            continue;
        }
        let (got, want) = (f64::from(*got), *want);
        let bound = if expected.exact { exact_bound(want, elem) } else { stored_bound(want, *bound, elem) };
        let same = (got.is_nan() && want.is_nan()) || got == want || (!got.is_nan() && got == elem.round(want));
        let error = if same { 0.0 } else { (got - want).abs() };
        // A NaN on either side alone, a bound that is not a number, or a number that the output does not have is as wrong as can be.
        let outside = got < expected.range[0] || got > expected.range[1];
        let ratio = if same {
            0.0
        } else if error.is_finite() && bound.is_finite() && !outside {
            error / bound
        } else {
            f64::INFINITY
        };
        if ratio > 1.0 {
            out.wrong += 1;
        }
        if std::mem::take(&mut first) || ratio > out.worst {
            (out.worst, out.error, out.bound, out.index, out.got, out.want) = (ratio, error, bound, index, got, want);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expected(want: &[f64], bound: f64) -> Expected {
        let (bound, rounded) = (vec![bound; want.len()], vec![10.0 * bound; want.len()]);
        Expected { rounded, ..Expected::new("y", want.to_vec(), bound) }
    }

    #[test]
    fn an_error_within_the_bound_passes_and_one_beyond_fails() {
        assert!(compare(&expected(&[1.0], 1e-3), None, &[1.0005], Elem::F32).ok());
        let out = compare(&expected(&[1.0, 2.0], 1e-3), None, &[1.0, 2.01], Elem::F32);
        assert_eq!((out.ok(), out.wrong, out.index), (false, 1, 1));
    }

    #[test]
    fn a_plan_that_rounds_operands_has_bounds_of_its_own() {
        let of = |operands| compare(&expected(&[1.0], 1e-3), operands, &[1.005], Elem::F32).ok();
        assert!(!of(None) && of(Some(Elem::F16)));
        // Without such bounds it has not been judged.
        let none = Expected { rounded: Vec::new(), ..expected(&[1.0], 1e-3) };
        assert!(!compare(&none, Some(Elem::F16), &[1.0], Elem::F32).ok());
    }

    #[test]
    fn nan_and_infinity_must_match_in_place() {
        let want = [f64::NAN, f64::INFINITY, 1.0];
        assert!(compare(&expected(&want, 1.0), None, &[f32::NAN, f32::INFINITY, 1.0], Elem::F32).ok());
        assert!(!compare(&expected(&want, 1.0), None, &[f32::NAN, f32::NEG_INFINITY, 1.0], Elem::F32).ok());
        assert!(!compare(&expected(&want, 1.0), None, &[1.0, f32::INFINITY, 1.0], Elem::F32).ok());
        assert!(!compare(&expected(&[1.0], 1e9), None, &[f32::NAN], Elem::F32).ok());
    }

    #[test]
    fn what_the_reference_does_not_know_is_not_compared() {
        let some = Expected { unknown: vec![true, false, true], ..expected(&[0.0, 2.0, 0.0], 1e-3) };
        let out = compare(&some, None, &[f32::NAN, 2.0005, 7.0], Elem::F32);
        assert_eq!((out.ok(), out.compared, out.index), (true, 1, 1));
        let out = compare(&some, None, &[f32::NAN, 2.01, 7.0], Elem::F32);
        assert_eq!((out.ok(), out.wrong, out.index), (false, 1, 1));
    }

    #[test]
    fn what_is_exact_is_right_only_as_it_is() {
        let ok = |want: f64, got: f32, elem| compare(&Expected::exact("y", vec![want]), None, &[got], elem).ok();
        let below = f32::from_bits(1.0f32.to_bits() - 1);
        assert!(ok(1.0, 1.0, Elem::F32) && !ok(1.0, below, Elem::F32) && !ok(-2.0, -2.0 * below, Elem::F32));
        assert!(compare(&Expected::new("y", vec![1.0], vec![0.0]), None, &[below], Elem::F32).ok(), "it is rounded");
        // Zero is none but zero, of either sign; a subnormal number may be flushed, but is no other.
        assert!(ok(0.0, -0.0, Elem::F32) && !ok(0.0, 1e-40, Elem::F32) && !ok(0.0, 1e-9, Elem::F16));
        assert!(ok(1e-40, 0.0, Elem::F32) && !ok(1e-40, 3e-40, Elem::F32) && ok(2f64.powi(-20), 0.0, Elem::F16));
        assert!(ok(f64::NAN, f32::NAN, Elem::F32) && !ok(f64::NAN, 0.0, Elem::F32) && !ok(3.0, 2.0, Elem::U32));
    }

    #[test]
    fn the_worst_is_told_wherever_it_is() {
        let out = compare(&expected(&[f64::NAN, 1.0], 1e-3), None, &[1.0, 1.0], Elem::F32);
        assert_eq!((out.wrong, out.index, out.worst), (1, 0, f64::INFINITY));
    }

    #[test]
    fn a_missing_element_fails() {
        assert!(!compare(&expected(&[1.0, 1.0], 1.0), None, &[1.0], Elem::F32).ok());
    }

    #[test]
    fn an_overflow_of_the_storage_is_what_the_storage_says() {
        assert!(compare(&expected(&[70000.0], 1.0), None, &[f32::INFINITY], Elem::F16).ok());
        assert!(!compare(&expected(&[70000.0], 1.0), None, &[65504.0], Elem::F16).ok());
    }
}
