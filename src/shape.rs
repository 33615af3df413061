//! Shapes: up to six dimensions, row-major, the last one contiguous.

use crate::error::{Error, Result, shape_error};

/// The most dimensions that a tensor may have.
pub const MAX_DIMS: usize = 6;

/// A row-major shape of 0 to 6 dimensions. A dimension may be 0; a shape without dimensions is a scalar.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shape {
    dims: [usize; MAX_DIMS],
    rank: u8,
}

impl Shape {
    /// The shape of these dimensions.
    ///
    /// # Errors
    /// More than six dimensions, or a number of elements that does not fit a `usize`.
    pub fn new(dims: &[usize]) -> Result<Self> {
        if dims.len() > MAX_DIMS {
            return Err(shape_error!("shape", "{} dimensions, but at most {MAX_DIMS} are possible", dims.len()));
        }
        dims.iter()
            .filter(|d| **d != 0)
            .try_fold(1usize, |n, d| n.checked_mul(*d))
            .filter(|n| *n <= isize::MAX as usize / 8)
            .ok_or_else(|| shape_error!("shape", "{dims:?} has more elements than can be addressed"))?;
        let mut all = [1; MAX_DIMS];
        all[..dims.len()].copy_from_slice(dims);
        Ok(Self { dims: all, rank: dims.len() as u8 })
    }

    /// The dimensions, outermost first.
    pub fn dims(&self) -> &[usize] {
        &self.dims[..usize::from(self.rank)]
    }

    /// How many dimensions.
    pub fn rank(&self) -> usize {
        usize::from(self.rank)
    }

    /// The number of elements.
    pub fn elements(&self) -> usize {
        self.dims().iter().product()
    }

    /// The product of the dimensions before `axis`, and that of those from `axis` on.
    pub(crate) fn split_at(&self, axis: usize) -> (usize, usize) {
        let (outer, inner) = self.dims().split_at(axis);
        (outer.iter().product(), inner.iter().product())
    }

    /// How many rows there are, and how long: the last dimension is a row. `name` is the operand of this shape.
    ///
    /// # Errors
    /// There is no dimension.
    pub fn rows(&self, op: &'static str, name: &str) -> Result<(usize, usize)> {
        match self.rank() {
            0 => Err(shape_error!(op, "{name} has shape [], but must have at least one dimension")),
            rank => Ok(self.split_at(rank - 1)),
        }
    }

    /// An axis counted from the front, from one that may count from the back (−1 is the last).
    ///
    /// # Errors
    /// The axis is out of range.
    pub fn axis(&self, op: &'static str, axis: i32) -> Result<usize> {
        let rank = self.rank() as i32;
        let at = if axis < 0 { axis + rank } else { axis };
        if (0..rank).contains(&at) {
            Ok(at as usize)
        } else {
            Err(Error::Value {
                op,
                name: "axis",
                value: format!("{axis} for x of shape {self}"),
                rule: "it must name a dimension of x",
            })
        }
    }
}

impl std::fmt::Display for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.dims())
    }
}

impl std::fmt::Debug for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.dims())
    }
}

/// What a function takes as a shape: a [`Shape`], an array, a slice or a `Vec` of dimensions.
pub trait IntoShape {
    /// The shape.
    ///
    /// # Errors
    /// As [`Shape::new`].
    fn into_shape(self) -> Result<Shape>;
}

impl IntoShape for Shape {
    fn into_shape(self) -> Result<Shape> {
        Ok(self)
    }
}

impl IntoShape for &[usize] {
    fn into_shape(self) -> Result<Shape> {
        Shape::new(self)
    }
}

impl IntoShape for &Vec<usize> {
    fn into_shape(self) -> Result<Shape> {
        Shape::new(self)
    }
}

impl<const N: usize> IntoShape for [usize; N] {
    fn into_shape(self) -> Result<Shape> {
        Shape::new(&self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axis_counts_from_either_end() {
        let s = Shape::new(&[2, 3, 5]).expect("a shape");
        assert_eq!(s.axis("op", -1), Ok(2));
        assert_eq!(s.axis("op", 1), Ok(1));
        assert_eq!(s.split_at(1), (2, 15));
        assert!(s.axis("op", 3).is_err());
        assert!(s.axis("op", -4).is_err());
    }

    #[test]
    fn a_shape_that_overflows_is_an_error() {
        assert!(Shape::new(&[usize::MAX, 2]).is_err());
        assert!(Shape::new(&[usize::MAX, 2, 0]).is_err());
        assert!(Shape::new(&[1; 7]).is_err());
        assert_eq!(Shape::new(&[]).map(|s| s.elements()), Ok(1));
        assert_eq!(Shape::new(&[3, 0]).map(|s| s.elements()), Ok(0));
    }
}
