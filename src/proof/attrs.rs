//! The numbers and switches of an op by name, as cases and golden files give them.

use std::cell::RefCell;
use std::collections::BTreeMap;

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
        Reader { op, attrs: self, used: RefCell::default(), wrong: RefCell::default() }
    }
}

/// Reads attributes, notes which were asked for, so that none is passed over in silence, and what was wrong with them: to whoever reads, an
/// attribute that is not what it must be is absent, and [`Reader::finish`] says so.
pub struct Reader<'a> {
    op: &'static str,
    attrs: &'a Attrs,
    /// A list, which is short: a set would be more for the page to load.
    used: RefCell<Vec<String>>,
    wrong: RefCell<Option<String>>,
}

impl Reader<'_> {
    fn get(&self, name: &str) -> Option<&Value> {
        self.used.borrow_mut().push(name.to_owned());
        self.attrs.0.get(name)
    }

    /// The first thing that is wrong is kept.
    fn wrong(&self, name: &str, rule: &str) {
        let value = self.attrs.0.get(name).map_or(String::new(), |value| format!(" = {value:?}"));
        self.wrong.borrow_mut().get_or_insert_with(|| format!("attribute {name}{value} {rule}"));
    }

    /// A number, or what stands for it where it is absent.
    pub fn number(&self, name: &str, absent: f64) -> f64 {
        match self.get(name) {
            Some(Value::Number(v)) => return *v,
            Some(_) => self.wrong(name, "is not a number"),
            None => {}
        }
        absent
    }

    /// A number that must be there.
    pub fn needed(&self, name: &str) -> f64 {
        if self.get(name).is_none() {
            self.wrong(name, "is missing");
        }
        self.number(name, 0.0)
    }

    /// A switch, or what stands for it where it is absent.
    pub fn flag(&self, name: &str, absent: bool) -> bool {
        match self.get(name) {
            Some(Value::Flag(v)) => return *v,
            Some(_) => self.wrong(name, "is not true or false"),
            None => {}
        }
        absent
    }

    /// A name, or what stands for it where it is absent.
    pub fn text<'t>(&'t self, name: &str, absent: &'t str) -> &'t str {
        match self.get(name) {
            Some(Value::Text(v)) => return v,
            Some(_) => self.wrong(name, "is not a name"),
            None => {}
        }
        absent
    }

    /// Numbers, where there are some.
    pub fn list(&self, name: &str) -> Option<&[f64]> {
        match self.get(name) {
            Some(Value::List(list)) => return Some(list),
            Some(_) => self.wrong(name, "is not a list"),
            None => {}
        }
        None
    }

    /// Everything has been asked for, and was what it must be.
    ///
    /// # Errors
    /// An attribute that the op does not know, one of another type, or one that is missing.
    pub fn finish(&self) -> Result<()> {
        if let Some(wrong) = self.wrong.borrow().as_ref() {
            return Err(shape_error!(self.op, "{wrong}"));
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_told_in_the_end_and_the_first_of_it() {
        let attrs = Attrs::default().with("eps", "small").with("causal", 1.0).with("more", true);
        let told = |read: &dyn Fn(&Reader<'_>)| {
            let reader = attrs.reader("op");
            read(&reader);
            reader.finish().expect_err("something is wrong").to_string()
        };
        assert_eq!(
            told(&|r| assert_eq!(r.number("eps", 0.5), 0.5)),
            r#"op: attribute eps = Text("small") is not a number"#
        );
        assert_eq!(
            told(&|r| assert!(r.flag("causal", true))),
            "op: attribute causal = Number(1.0) is not true or false"
        );
        assert_eq!(
            told(&|r| assert_eq!(r.text("causal", "no"), "no")),
            "op: attribute causal = Number(1.0) is not a name"
        );
        assert_eq!(told(&|r| assert_eq!(r.list("eps"), None)), r#"op: attribute eps = Text("small") is not a list"#);
        assert_eq!(told(&|r| assert_eq!(r.needed("groups"), 0.0)), "op: attribute groups is missing");
        assert!(told(&|r| _ = (r.needed("eps"), r.needed("groups"))).contains("eps"));
        let known = told(&|r| _ = (r.text("eps", ""), r.number("causal", 0.0)));
        assert!(known.contains("more = Flag(true)") && known.contains("does not know it"), "{known}");
    }
}
