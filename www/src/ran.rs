//! Ops of inputs that a person made, by the case table: with the reference, the bounds and the checks of every other case.

use gristmill::proof::cases::{Case, Fill, Input, Output, Stored, Values};
use gristmill::proof::{Attrs, Expected, Prepared};
use gristmill::{Dispatcher, Elem, Error};

type Result<T> = std::result::Result<T, Error>;

/// A role and its shape.
pub type Of<'a> = (&'static str, &'a [usize]);

/// A case of f32 operands, whose values are handed over where it is run.
pub fn case(op: &'static str, attrs: Attrs, inputs: &[Of<'_>], outputs: &[Of<'_>]) -> Case {
    let (fill, stored) = (Fill::Constant(0.0), Stored::Activation);
    Case {
        name: format!("{op}/on-the-page"),
        op,
        title: String::new(),
        model: "",
        phase: "",
        attrs,
        inputs: inputs.iter().map(|(role, shape)| Input { role, shape: shape.to_vec(), fill, stored }).collect(),
        weights: Vec::new(),
        outputs: outputs.iter().map(|(role, shape)| Output { role, shape: shape.to_vec(), stored }).collect(),
        storages: vec![Elem::F32],
        real: false,
        skew: 0,
        flops: 0,
    }
}

/// An output of the references, as another op takes it.
pub fn wanted(expected: &[Expected], role: &str) -> Vec<f32> {
    expected.iter().filter(|e| e.role == role).flat_map(|e| &e.want).map(|v| *v as f32).collect()
}

/// A case that has run by its best plan.
pub struct Ran {
    /// The plan.
    pub plan: String,
    /// Error over bound where that is largest.
    pub worst: f64,
}

impl Ran {
    /// Runs a case of these values on the device, holds it against the reference, and gives the outputs of these roles.
    pub async fn new<const N: usize>(
        gpu: &Dispatcher,
        case: &Case,
        values: &Values,
        roles: [&str; N],
    ) -> Result<(Self, [Vec<f32>; N])> {
        let prepared = Prepared::of(gpu, case, Elem::F32, values)?;
        let plan = prepared.plans()?.into_iter().next().map(|plan| plan.name).unwrap_or_default();
        let verdict = prepared.run(&plan).await?;
        let worst = verdict.outcomes.first().map_or(0.0, |outcome| outcome.worst);
        let mut outputs = std::array::from_fn(|_| Vec::new());
        for (role, output) in roles.into_iter().zip(&mut outputs) {
            if let Some(tensor) = prepared.tensor(role) {
                *output = tensor.read().await?;
            }
        }
        Ok((Self { plan, worst }, outputs))
    }
}
