//! Python's text as logical lines of tokens. What a token means does not belong here.

/// One statement's tokens, without its line breaks and comments.
#[derive(Debug)]
pub struct Line {
    /// Of its first token, from 1.
    pub number: u32,
    /// Width of the white space before it: what blocks are made of.
    pub indent: usize,
    pub tokens: Vec<Token>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Token {
    Name(String),
    Int(i64),
    Float(f64),
    Text(String),
    /// The raw text of an f-string.
    Format(String),
    /// One character of punctuation, or `**`, `//`, `->`, `==` and their like.
    Sign(&'static str),
}

/// Longest first, so that `**` is not two stars.
const SIGNS: &[&str] = &[
    "**=", "//=", "...", "**", "//", "->", "==", "!=", "<=", ">=", "+=", "-=", "*=", "/=", ":=", "<<", ">>", "(", ")",
    "[", "]", "{", "}", ",", ":", ".", ";", "=", "+", "-", "*", "/", "%", "<", ">", "@", "|", "&", "^", "~", "`", "!",
];

/// Splits a file. The error is a line and what is wrong there; nothing of the text is quoted.
pub fn lines(text: &str) -> Result<Vec<Line>, (u32, &'static str)> {
    let mut reader = Reader { rest: text.strip_prefix('\u{feff}').unwrap_or(text), number: 1 };
    let mut lines = Vec::new();
    while !reader.rest.is_empty() {
        let indent = reader.indent();
        let number = reader.number;
        let tokens = reader.logical_line()?;
        // `a = 1; b = 2` is two statements.
        for statement in tokens.split(|token| *token == Token::Sign(";")).filter(|tokens| !tokens.is_empty()) {
            lines.push(Line { number, indent, tokens: statement.to_vec() });
        }
    }
    Ok(lines)
}

struct Reader<'a> {
    rest: &'a str,
    number: u32,
}

impl Reader<'_> {
    fn skip(&mut self, bytes: usize) {
        self.number += self.rest[..bytes].bytes().filter(|byte| *byte == b'\n').count() as u32;
        self.rest = &self.rest[bytes..];
    }

    fn indent(&mut self) -> usize {
        let mut width = 0;
        while let Some(space) = self.rest.chars().next().filter(|c| matches!(c, ' ' | '\t' | '\x0c')) {
            width = if space == '\t' { (width / 8 + 1) * 8 } else { width + 1 };
            self.skip(1);
        }
        width
    }

    /// To the end of the line, or further inside brackets and behind a `\`.
    fn logical_line(&mut self) -> Result<Vec<Token>, (u32, &'static str)> {
        let mut tokens = Vec::new();
        let mut depth = 0_usize;
        while let Some(first) = self.rest.chars().next() {
            match first {
                '\n' if depth == 0 => {
                    self.skip(1);
                    return Ok(tokens);
                }
                '#' => self.skip(self.rest.find('\n').unwrap_or(self.rest.len())),
                '\\' | ' ' | '\t' | '\r' | '\n' | '\x0c' => {
                    let continued = ["\\\r\n", "\\\n"].iter().find(|end| self.rest.starts_with(**end));
                    self.skip(continued.map_or(1, |end| end.len()));
                }
                _ => {
                    let token = self.token()?;
                    match &token {
                        Token::Sign("(" | "[" | "{") => depth += 1,
                        Token::Sign(")" | "]" | "}") => depth = depth.saturating_sub(1),
                        _ => {}
                    }
                    tokens.push(token);
                }
            }
        }
        if depth == 0 { Ok(tokens) } else { Err((self.number, "a bracket is not closed")) }
    }

    fn token(&mut self) -> Result<Token, (u32, &'static str)> {
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        let word_end = self.rest.find(|c| !is_word(c)).unwrap_or(self.rest.len());
        let word = &self.rest[..word_end];
        let prefix = word.to_ascii_lowercase();
        if self.rest[word_end..].starts_with(['"', '\''])
            && ["", "r", "u", "b", "f", "ur", "br", "rb", "fr", "rf"].contains(&&*prefix)
        {
            self.skip(word_end);
            return self.string(prefix.contains('r'), prefix.contains('f'));
        }
        let is_digit = |c: char| c.is_ascii_digit();
        if word.starts_with(is_digit) || self.rest.strip_prefix('.').is_some_and(|rest| rest.starts_with(is_digit)) {
            return self.number();
        }
        if !word.is_empty() {
            let token = Token::Name(word.to_owned());
            self.skip(word_end);
            return Ok(token);
        }
        let sign = SIGNS.iter().find(|sign| self.rest.starts_with(**sign));
        let sign = sign.ok_or((self.number, "a character that Python doesn't know"))?;
        self.skip(sign.len());
        Ok(Token::Sign(sign))
    }

    fn number(&mut self) -> Result<Token, (u32, &'static str)> {
        let mut end = 0;
        let bytes = self.rest.as_bytes();
        while end < bytes.len()
            && (bytes[end].is_ascii_alphanumeric()
                || bytes[end] == b'.'
                || bytes[end] == b'_'
                || (
                    // 1e-3
                    matches!(bytes[end], b'+' | b'-')
                        && matches!(bytes[end - 1], b'e' | b'E')
                        && !self.rest.starts_with("0x")
                ))
        {
            end += 1;
        }
        let written = self.rest[..end].replace('_', "").to_ascii_lowercase();
        let written = written.trim_end_matches('l');
        let whole = match written.get(..2) {
            Some("0x") => i64::from_str_radix(&written[2..], 16).ok(),
            Some("0o") => i64::from_str_radix(&written[2..], 8).ok(),
            Some("0b") => i64::from_str_radix(&written[2..], 2).ok(),
            _ => written.parse().ok(),
        };
        let token = match (whole, written.parse::<f64>()) {
            (Some(whole), _) => Token::Int(whole),
            (None, Ok(float)) if float.is_finite() => Token::Float(float),
            _ => return Err((self.number, "a number that can't be read")),
        };
        self.skip(end);
        Ok(token)
    }

    /// From its first quote on.
    fn string(&mut self, raw: bool, format: bool) -> Result<Token, (u32, &'static str)> {
        let open = (self.number, "a string is not closed");
        let one = &self.rest[..1];
        let three = one.repeat(3);
        let quote = if self.rest.starts_with(&three) { three } else { one.to_owned() };
        self.skip(quote.len());
        let mut text = String::new();
        loop {
            if self.rest.starts_with(&quote) {
                self.skip(quote.len());
                return Ok(if format { Token::Format(text) } else { Token::Text(text) });
            }
            let c = self.rest.chars().next().ok_or(open)?;
            match c {
                '\n' if quote.len() == 1 => return Err(open),
                '\\' => {
                    let escaped = self.rest[1..].chars().next().ok_or(open)?;
                    self.skip(1);
                    if raw {
                        text.push('\\');
                        text.push(escaped);
                        self.skip(escaped.len_utf8());
                    } else {
                        self.escape(escaped, &mut text);
                    }
                }
                _ => {
                    text.push(c);
                    self.skip(c.len_utf8());
                }
            }
        }
    }

    /// What stands behind a `\`.
    fn escape(&mut self, escaped: char, text: &mut String) {
        self.skip(escaped.len_utf8());
        let digits = match escaped {
            'x' => 2,
            'u' => 4,
            'U' => 8,
            _ => 0,
        };
        match escaped {
            'n' => text.push('\n'),
            't' => text.push('\t'),
            'r' => text.push('\r'),
            '0' => text.push('\0'),
            '\\' | '\'' | '"' => text.push(escaped),
            '\n' => {}
            _ => {
                let code = self.rest.get(..digits).and_then(|code| u32::from_str_radix(code, 16).ok());
                if let Some(c) = code.filter(|_| digits > 0).and_then(char::from_u32) {
                    text.push(c);
                    self.skip(digits);
                } else {
                    text.push('\\');
                    text.push(escaped);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(text: &str) -> Vec<Token> {
        lines(text).unwrap().into_iter().flat_map(|line| line.tokens).collect()
    }

    #[test]
    fn strings_of_all_kinds() {
        for (written, meant) in [
            (r#"'a'"#, "a"),
            (r#"u"a'b""#, "a'b"),
            (r#"r'a\n'"#, r"a\n"),
            (r#"'a\n\x41\u00e9\'\q'"#, "a\nA\u{e9}'\\q"),
            ("\"\"\"a\n\"b\"\"\"", "a\n\"b"),
            ("'a\\\nb'", "ab"),
            ("'# none'", "# none"),
        ] {
            assert_eq!(tokens(written), [Token::Text(meant.to_owned())], "{written}");
        }
        assert_eq!(tokens("f'{x}'"), [Token::Format("{x}".to_owned())]);
    }

    #[test]
    fn numbers_of_all_kinds() {
        for (written, meant) in [("20", 20), ("1_000", 1000), ("0x10", 16), ("0o17", 15), ("0b11", 3), ("32L", 32)] {
            assert_eq!(tokens(written), [Token::Int(meant)], "{written}");
        }
        for (written, meant) in [("2.5", 2.5), (".5", 0.5), ("1e-3", 0.001), ("5.", 5.0)] {
            assert_eq!(tokens(written), [Token::Float(meant)], "{written}");
        }
    }

    #[test]
    fn lines_go_on_in_brackets_and_end_at_semicolons() {
        let found = lines("a = (1, # one\n  2)\nb = \\\n 3; c = 4\n\n    d").unwrap();
        let places: Vec<(u32, usize, usize)> =
            found.iter().map(|line| (line.number, line.indent, line.tokens.len())).collect();
        assert_eq!(places, [(1, 0, 7), (3, 0, 3), (3, 0, 3), (6, 4, 1)]);
    }

    #[test]
    fn what_is_broken_has_its_line() {
        assert_eq!(lines("a = 1\nb = 'x").unwrap_err(), (2, "a string is not closed"));
        assert_eq!(lines("a = 'x\n'").unwrap_err(), (1, "a string is not closed"));
        assert_eq!(lines("a = (1,\n\n").unwrap_err().1, "a bracket is not closed");
        assert_eq!(lines("a = 1x2").unwrap_err().1, "a number that can't be read");
        assert_eq!(lines("a = $").unwrap_err().1, "a character that Python doesn't know");
    }
}
