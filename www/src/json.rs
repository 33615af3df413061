//! JSON as text: the page wants plain data, and a browser reads text into it in one call.

pub use gristmill::proof::json_text as text;

/// A number; `null` where it is none.
pub fn number(v: f64) -> String {
    if v.is_finite() { v.to_string() } else { "null".into() }
}

/// A number that may be absent.
pub fn maybe(v: Option<f64>) -> String {
    v.map_or_else(|| "null".into(), number)
}

/// A list of values.
pub fn list(values: impl IntoIterator<Item = String>) -> String {
    format!("[{}]", values.into_iter().collect::<Vec<_>>().join(","))
}

/// An object of names and values.
pub fn object(fields: &[(&str, String)]) -> String {
    let fields: Vec<String> = fields.iter().map(|(name, value)| format!("{}:{value}", text(name))).collect();
    format!("{{{}}}", fields.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_number_is_null() {
        let fields =
            [("a", number(0.5)), ("b", number(f64::NAN)), ("c", maybe(None)), ("d", list([text("x"), text("\"")]))];
        assert_eq!(object(&fields), r#"{"a":0.5,"b":null,"c":null,"d":["x","\""]}"#);
    }
}
