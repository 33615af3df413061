//! The numbers and switches of an op by name, as cases and golden files give them.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use crate::error::{Error, Result, shape_error};

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A number.
    Number(f64),
    /// A switch.
    Flag(bool),
    /// A name.
    Text(String),
    /// Numbers.
    List(Vec<f64>),
}

impl From<f64> for Value {
    fn from(v: f64) -> Self {
        Self::Number(v)
    }
}

impl From<bool> for Value {
    fn from(v: bool) -> Self {
        Self::Flag(v)
    }
}

impl From<Vec<f64>> for Value {
    fn from(v: Vec<f64>) -> Self {
        Self::List(v)
    }
}

impl From<&str> for Value {
    fn from(v: &str) -> Self {
        Self::Text(v.to_owned())
    }
}

/// Attributes by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Attrs(pub BTreeMap<String, Value>);

impl Attrs {
    /// These and one more.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.insert(name.to_owned(), value.into());
        self
    }

    /// Reads them for an op.
    pub fn reader(&self, op: &'static str) -> Reader<'_> {
        Reader { op, attrs: self, used: RefCell::default() }
    }
}

/// Reads attributes and notes which were asked for, so that none is passed over in silence.
pub struct Reader<'a> {
    op: &'static str,
    attrs: &'a Attrs,
    used: RefCell<BTreeSet<String>>,
}

impl Reader<'_> {
    fn get(&self, name: &str) -> Option<&Value> {
        self.used.borrow_mut().insert(name.to_owned());
        self.attrs.0.get(name)
    }

    /// A number, or what stands for it where it is absent.
    ///
    /// # Errors
    /// It is not a number.
    pub fn number(&self, name: &str, absent: f64) -> Result<f64> {
        match self.get(name) {
            None => Ok(absent),
            Some(Value::Number(v)) => Ok(*v),
            Some(other) => Err(shape_error!(self.op, "attribute {name} = {other:?} is not a number")),
        }
    }

    /// A number that must be there.
    ///
    /// # Errors
    /// It is absent or not a number.
    pub fn needed(&self, name: &str) -> Result<f64> {
        match self.get(name) {
            None => Err(shape_error!(self.op, "attribute {name} is missing")),
            Some(_) => self.number(name, 0.0),
        }
    }

    /// A switch, or what stands for it where it is absent.
    ///
    /// # Errors
    /// It is not a switch.
    pub fn flag(&self, name: &str, absent: bool) -> Result<bool> {
        match self.get(name) {
            None => Ok(absent),
            Some(Value::Flag(v)) => Ok(*v),
            Some(other) => Err(shape_error!(self.op, "attribute {name} = {other:?} is not true or false")),
        }
    }

    /// A name, or what stands for it where it is absent.
    ///
    /// # Errors
    /// It is not a name.
    pub fn text<'t>(&'t self, name: &str, absent: &'t str) -> Result<&'t str> {
        match self.get(name) {
            None => Ok(absent),
            Some(Value::Text(v)) => Ok(v),
            Some(other) => Err(shape_error!(self.op, "attribute {name} = {other:?} is not a name")),
        }
    }

    /// Numbers, where there are some.
    ///
    /// # Errors
    /// It is not a list.
    pub fn list(&self, name: &str) -> Result<Option<&[f64]>> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::List(list)) => Ok(Some(list)),
            Some(other) => Err(shape_error!(self.op, "attribute {name} = {other:?} is not a list")),
        }
    }

    /// Everything has been asked for.
    ///
    /// # Errors
    /// An attribute that the op does not know.
    pub fn finish(self) -> Result<()> {
        let used = self.used.borrow();
        match self.attrs.0.iter().find(|(name, _)| !used.contains(*name)) {
            None => Ok(()),
            Some((name, value)) => Err(Error::Value {
                op: self.op,
                name: "attribute",
                value: format!("{name} = {value:?}"),
                rule: "this op does not know it",
            }),
        }
    }
}
