//! `${NAME}` from the environment, inside values only; `$${` stays a plain `${`.

use std::ffi::OsString;

/// Longer is no value that any key takes.
const MOST_BYTES: usize = 64 * 1024;

/// Looks a variable up. A value, so that tests need not touch the process's own environment.
pub(super) type Environment = dyn Fn(&str) -> Option<OsString> + Send + Sync;

/// The text with its variables filled in, or what is wrong and what to do about it.
pub(super) fn expand(text: &str, environment: &Environment) -> Result<String, (String, String)> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some(after) = rest.strip_prefix("$${") {
            out.push_str("${");
            rest = after;
        } else if let Some(after) = rest.strip_prefix("${") {
            let escape = "write `$${` for a plain `${`";
            let end = after.find('}').ok_or_else(|| ("`${` without its `}`".to_owned(), escape.to_owned()))?;
            let name = &after[..end];
            if !is_name(name) {
                // What stands there may be part of a password: it isn't quoted.
                return Err(("no name of a variable between `${` and `}`".to_owned(), escape.to_owned()));
            }
            let value = environment(name).ok_or_else(|| {
                (format!("the environment variable `{name}` is not set"), format!("set `{name}`, or {escape}"))
            })?;
            let value = value.into_string().map_err(|_| {
                (format!("the environment variable `{name}` is not UTF-8"), format!("set `{name}` to plain text"))
            })?;
            out.push_str(&value);
            if out.len() > MOST_BYTES {
                return Err((
                    "too long with its variables filled in".to_owned(),
                    format!("look at what `{name}` holds"),
                ));
            }
            rest = &after[end + 1..];
        } else {
            out.push('$');
            rest = &rest[1..];
        }
    }
    out.push_str(rest);
    Ok(out)
}

fn is_name(name: &str) -> bool {
    !name.starts_with(|c: char| c.is_ascii_digit())
        && !name.is_empty()
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(name: &str) -> Option<OsString> {
        match name {
            "PW" => Some("a${b}$".into()),
            "EMPTY" => Some("".into()),
            "LONG" => Some("x".repeat(1000).into()),
            _ => None,
        }
    }

    #[test]
    fn fills_in_once_and_leaves_the_rest() {
        for (text, expected) in [
            ("plain", "plain"),
            ("x${PW}y", "xa${b}$y"),
            ("${PW}${EMPTY}${PW}", "a${b}$a${b}$"),
            ("$${PW}", "${PW}"),
            ("$$${PW}", "$${PW}"),
            ("cash$ $PW $", "cash$ $PW $"),
        ] {
            assert_eq!(expand(text, &environment).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn says_what_is_missing() {
        assert!(expand("${NOPE}", &environment).unwrap_err().0.contains("`NOPE` is not set"));
        assert!(expand(&"${LONG}".repeat(100), &environment).unwrap_err().0.contains("too long"));
        assert!(expand("${PW", &environment).unwrap_err().0.contains("without its"));
        for text in ["${}", "${1A}", "${A-B}"] {
            assert!(expand(text, &environment).unwrap_err().0.contains("no name"), "{text}");
        }
    }
}
