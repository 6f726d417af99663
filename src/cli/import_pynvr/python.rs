//! The assignments of a Python file, as far as they are literals and the simple expressions that configurations
//! are made of. Nothing is run: what can't be read stays [`Value::Unknown`], with the reason.
//!
//! What pynvr means by a name does not belong here.

use std::collections::{BTreeMap, BTreeSet};

use super::token::{Line, Token, lines};

/// Expressions nest no deeper in a configuration.
const MOST_DEPTH: u32 = 50;
/// Longest text and largest collection that an expression may come to.
const MOST_WEIGHT: usize = 16 * 1024;

#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    None,
    Flag(bool),
    Int(i64),
    Float(f64),
    Text(String),
    /// A tuple or a list.
    List(Vec<Value>),
    Dict(Vec<(Value, Value)>),
    /// A name of another module, dotted: `logging.DEBUG`.
    Name(String),
    /// The time a function was called with.
    Moment,
    /// A part of that time, by its strftime specifier, and as many digits as it always has with leading zeros.
    Field(&'static str, usize),
    /// A text made of parts of the time, as a strftime template. False: pynvr wrote it without leading zeros.
    Template(String, bool),
    /// A function of a time: what it returns.
    Function(Box<Value>),
    Unknown(&'static str),
}

/// A name's last value and where it got it.
#[derive(Debug)]
pub struct Assignment {
    pub line: u32,
    pub value: Value,
}

/// What a file assigns.
#[derive(Debug, Default)]
pub struct Module {
    pub names: BTreeMap<String, Assignment>,
    /// Names that an expression used: helpers of the file itself.
    pub used: BTreeSet<String>,
    /// Names that are assigned where it depends (in `if`, `for`, `try`), with the line.
    pub conditional: BTreeMap<String, u32>,
}

/// A file that can't be taken apart. Quotes nothing of it.
#[derive(Debug, PartialEq)]
pub struct Fault {
    /// The imported module; None: the file itself.
    pub module: Option<String>,
    pub line: u32,
    pub what: &'static str,
}

/// Reads a file over what `module` has. `import` gives the text of a module for `from NAME import *`, each once.
pub fn read(module: &mut Module, text: &str, import: &mut dyn FnMut(&str) -> Option<String>) -> Result<(), Fault> {
    let lines = lines(text).map_err(|(line, what)| Fault { module: None, line, what })?;
    // Blocks that are open: their indent, and whether their assignments count.
    let mut blocks: Vec<(usize, bool)> = Vec::new();
    let mut at = 0;
    while let Some(line) = lines.get(at) {
        at += 1;
        blocks.retain(|(indent, _)| line.indent > *indent);
        let counts = blocks.iter().all(|(_, counts)| *counts);
        match line.tokens.first() {
            Some(Token::Name(word)) if word == "def" => {
                let body_end = at + lines[at..].iter().take_while(|inner| inner.indent > line.indent).count();
                if counts {
                    module.define(line, &lines[at..body_end]);
                }
                at = body_end;
            }
            Some(Token::Name(word)) if word == "class" => blocks.push((line.indent, counts)),
            Some(Token::Name(word))
                if ["if", "elif", "else", "for", "while", "try", "except", "finally", "with"].contains(&&**word) =>
            {
                blocks.push((line.indent, false));
            }
            _ => {
                if let [Token::Name(from), Token::Name(other), Token::Name(word), Token::Sign("*")] = &line.tokens[..]
                    && (from.as_str(), word.as_str()) == ("from", "import")
                {
                    if let Some(text) = import(other) {
                        read(module, &text, import)
                            .map_err(|fault| Fault { module: fault.module.or(Some(other.clone())), ..fault })?;
                    }
                } else if counts {
                    module.assign(line);
                } else if let Some((targets, _)) = split_assignment(&line.tokens) {
                    module.conditional.extend(targets.into_iter().map(|name| (name, line.number)));
                }
            }
        }
    }
    Ok(())
}

/// The names before each `=`, and what stands behind the last. None: no assignment.
fn split_assignment(tokens: &[Token]) -> Option<(Vec<String>, &[Token])> {
    let mut depth = 0;
    let mut parts = Vec::new();
    let mut start = 0;
    for (at, token) in tokens.iter().enumerate() {
        match token {
            Token::Sign("(" | "[" | "{") => depth += 1,
            Token::Sign(")" | "]" | "}") => depth -= 1,
            Token::Sign("=") if depth == 0 => {
                parts.push(&tokens[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    if parts.is_empty() {
        return None;
    }
    Some((parts.into_iter().filter_map(target).collect(), &tokens[start..]))
}

/// The last name of `name`, `name: type`, `thing.name` or `thing["name"]`.
fn target(tokens: &[Token]) -> Option<String> {
    match tokens {
        [Token::Name(name)] | [Token::Name(name), Token::Sign(":"), ..] => Some(name.clone()),
        [Token::Name(_), Token::Sign("."), rest @ ..] => target(rest),
        [Token::Name(_), Token::Sign("["), Token::Text(name), Token::Sign("]")] => Some(name.clone()),
        _ => None,
    }
}

impl Module {
    fn assign(&mut self, line: &Line) {
        let Some((targets, expression)) = split_assignment(&line.tokens) else { return };
        let value = self.evaluate(expression, None);
        // `config = { "cam": ... }`, or `dict(cam=...)`, is a way to write assignments.
        if let Value::Dict(entries) = &value {
            for (key, value) in entries {
                if let Value::Text(name) = key {
                    self.put(name, line.number, value.clone());
                }
            }
        }
        for name in targets {
            self.put(&name, line.number, value.clone());
        }
    }

    fn put(&mut self, name: &str, line: u32, value: Value) {
        self.conditional.remove(name);
        self.names.insert(name.to_owned(), Assignment { line, value });
    }

    /// `def NAME(TIME): return EXPRESSION`, with a text to explain it perhaps.
    fn define(&mut self, line: &Line, body: &[Line]) {
        let [_, Token::Name(name), Token::Sign("("), head @ ..] = &line.tokens[..] else { return };
        let mut depth = 1;
        let ends = |token: &Token| {
            match token {
                Token::Sign("(" | "[" | "{") => depth += 1,
                Token::Sign(")" | "]" | "}") => depth -= 1,
                _ => {}
            }
            depth == 0 && *token == Token::Sign(":")
        };
        let colon = head.iter().position(ends).map_or(head.len(), |at| at + 1);
        let mut statements = body.iter().map(|line| &line.tokens[..]).chain([&head[colon..]]);
        let says = |tokens: &&[Token]| !tokens.is_empty() && !matches!(tokens, [Token::Text(_)]);
        let statement = statements.clone().filter(says).count();
        let value = match (statement, statements.find(says)) {
            (1, Some([Token::Name(word), expression @ ..])) if word == "return" => {
                let time = head.first().and_then(|token| match token {
                    Token::Name(time) => Some(time.as_str()),
                    _ => None,
                });
                self.evaluate(expression, time)
            }
            _ => Value::Unknown("a function that does more than return a text"),
        };
        self.put(name, line.number, Value::Function(Box::new(value)));
    }

    fn evaluate(&mut self, tokens: &[Token], time: Option<&str>) -> Value {
        let mut parser = Parser { module: self, tokens, at: 0, time, depth: 0 };
        match parser.everything() {
            Ok(value) => value,
            Err(why) => Value::Unknown(why),
        }
    }
}

struct Parser<'a> {
    module: &'a mut Module,
    tokens: &'a [Token],
    at: usize,
    /// The name of a function's parameter.
    time: Option<&'a str>,
    depth: u32,
}

type Parsed = Result<Value, &'static str>;

const NOT_A_LITERAL: &str = "not a plain value";

impl Parser<'_> {
    fn take(&mut self, sign: &str) -> bool {
        let is_there = matches!(self.tokens.get(self.at), Some(Token::Sign(found)) if *found == sign);
        self.at += usize::from(is_there);
        is_there
    }

    fn one_of(&mut self, signs: &[&'static str]) -> Option<&'static str> {
        signs.iter().find(|sign| self.take(sign)).copied()
    }

    /// An expression to the last token; a tuple needs no brackets.
    fn everything(&mut self) -> Parsed {
        let first = self.expression()?;
        if self.at == self.tokens.len() {
            return Ok(first);
        }
        if !self.take(",") {
            return Err(NOT_A_LITERAL);
        }
        let mut items = vec![first];
        while self.at < self.tokens.len() {
            items.push(self.expression()?);
            if !self.take(",") && self.at < self.tokens.len() {
                return Err(NOT_A_LITERAL);
            }
        }
        light(Value::List(items))
    }

    fn expression(&mut self) -> Parsed {
        self.depth += 1;
        if self.depth > MOST_DEPTH {
            return Err("nested too deep");
        }
        let value = match &self.tokens[self.at.min(self.tokens.len())..] {
            [Token::Name(word), Token::Name(parameter), Token::Sign(":"), ..] if word == "lambda" => {
                self.at += 3;
                let outer = self.time.replace(parameter);
                let value = self.expression();
                self.time = outer;
                Value::Function(Box::new(value?))
            }
            _ => self.sum()?,
        };
        self.depth -= 1;
        Ok(value)
    }

    fn sum(&mut self) -> Parsed {
        let mut left = self.product()?;
        while let Some(sign) = self.one_of(&["+", "-"]) {
            let right = self.product()?;
            left = light(match (sign, left, right) {
                (
                    "+",
                    left @ (Value::Text(_) | Value::Template(..)),
                    right @ (Value::Text(_) | Value::Template(..)),
                ) => joined([left, right], "")?,
                (sign, left, right) => calculate(sign, left, right)?,
            })?;
        }
        Ok(left)
    }

    fn product(&mut self) -> Parsed {
        let mut left = self.sign()?;
        while let Some(sign) = self.one_of(&["*", "//", "/", "%"]) {
            let right = self.sign()?;
            left = match (sign, left, right) {
                ("%", Value::Text(text), Value::List(items)) => light(percent(&text, items)?)?,
                ("%", Value::Text(text), item) => light(percent(&text, vec![item])?)?,
                (sign, left, right) => calculate(sign, left, right)?,
            };
        }
        Ok(left)
    }

    fn sign(&mut self) -> Parsed {
        let negative = self.take("-");
        let value = self.trailed()?;
        match value {
            _ if !negative => Ok(value),
            Value::Int(number) => Ok(Value::Int(number.saturating_neg())),
            Value::Float(number) => Ok(Value::Float(-number)),
            _ => Err(NOT_A_LITERAL),
        }
    }

    /// A value with its `.name`s, calls and `**`.
    fn trailed(&mut self) -> Parsed {
        let mut value = self.atom()?;
        loop {
            if self.take(".") {
                let Some(Token::Name(name)) = self.tokens.get(self.at) else { return Err(NOT_A_LITERAL) };
                self.at += 1;
                value = match value {
                    Value::Name(module) => Value::Name(format!("{module}.{name}")),
                    Value::Moment => part_of_time(name),
                    Value::Text(text) if name == "format" && self.take("(") => {
                        let items = self.items(")")?;
                        light(format_method(&text, &items)?)?
                    }
                    _ => return Err(NOT_A_LITERAL),
                };
            } else if self.take("(") {
                let Value::Name(function) = value else { return Err("a call of a function") };
                value = if function == "dict" { self.keywords()? } else { call(&function, self.items(")")?)? };
                value = light(value)?;
            } else if self.take("**") {
                return calculate("**", value, self.atom()?);
            } else {
                return Ok(value);
            }
        }
    }

    fn items(&mut self, end: &str) -> Result<Vec<Value>, &'static str> {
        let mut items = Vec::new();
        while !self.take(end) {
            items.push(self.expression()?);
            if !self.take(",") && !self.take_back(end) {
                return Err(NOT_A_LITERAL);
            }
        }
        Ok(items)
    }

    /// Is it next? Takes nothing.
    fn take_back(&mut self, sign: &str) -> bool {
        let is_there = self.take(sign);
        self.at -= usize::from(is_there);
        is_there
    }

    /// The arguments of `dict(name=value)`.
    fn keywords(&mut self) -> Parsed {
        let mut entries = Vec::new();
        while !self.take(")") {
            let Some(Token::Name(name)) = self.tokens.get(self.at) else { return Err(NOT_A_LITERAL) };
            self.at += 1;
            if !self.take("=") {
                return Err(NOT_A_LITERAL);
            }
            entries.push((Value::Text(name.clone()), self.value_or_unknown(")")?));
            if !self.take(",") && !self.take_back(")") {
                return Err(NOT_A_LITERAL);
            }
        }
        Ok(Value::Dict(entries))
    }

    /// One value of a dictionary. One that can't be read spoils only itself.
    fn value_or_unknown(&mut self, end: &str) -> Parsed {
        let (start, depth) = (self.at, self.depth);
        let value = self.expression();
        if value.is_ok() && (self.take_back(",") || self.take_back(end)) {
            return value;
        }
        (self.at, self.depth) = (start, depth);
        let mut open = 0;
        while let Some(token) = self.tokens.get(self.at) {
            match token {
                Token::Sign(",") if open == 0 => break,
                Token::Sign("(" | "[" | "{") => open += 1,
                Token::Sign(")" | "]" | "}") if open == 0 => break,
                Token::Sign(")" | "]" | "}") => open -= 1,
                _ => {}
            }
            self.at += 1;
        }
        Ok(Value::Unknown(value.err().unwrap_or(NOT_A_LITERAL)))
    }

    fn atom(&mut self) -> Parsed {
        let token = self.tokens.get(self.at).ok_or(NOT_A_LITERAL)?;
        self.at += 1;
        match token {
            Token::Int(number) => Ok(Value::Int(*number)),
            Token::Float(number) => Ok(Value::Float(*number)),
            Token::Text(_) | Token::Format(_) => {
                self.at -= 1;
                self.strings()
            }
            Token::Name(name) => self.name(name),
            Token::Sign("(") => self.bracketed(),
            Token::Sign("[") => light(Value::List(self.items("]")?)),
            Token::Sign("{") => {
                let mut entries = Vec::new();
                while !self.take("}") {
                    let key = self.expression()?;
                    if !self.take(":") {
                        return Err(NOT_A_LITERAL);
                    }
                    entries.push((key, self.value_or_unknown("}")?));
                    if !self.take(",") && !self.take_back("}") {
                        return Err(NOT_A_LITERAL);
                    }
                }
                light(Value::Dict(entries))
            }
            Token::Sign(_) => Err(NOT_A_LITERAL),
        }
    }

    /// Strings side by side are one.
    fn strings(&mut self) -> Parsed {
        let mut parts = Vec::new();
        while let Some(token) = self.tokens.get(self.at) {
            match token {
                Token::Text(text) => parts.push(Value::Text(text.clone())),
                Token::Format(text) => {
                    let part = self.f_string(text)?;
                    parts.push(part);
                }
                _ => break,
            }
            self.at += 1;
        }
        light(joined(parts, "")?)
    }

    fn f_string(&mut self, text: &str) -> Parsed {
        let (time, depth) = (self.time, self.depth);
        fill(text, |name| {
            let parsed = lines(name).map_err(|(_, why)| why)?;
            let tokens: Vec<Token> = parsed.into_iter().flat_map(|line| line.tokens).collect();
            let mut inner = Parser { module: self.module, tokens: &tokens, at: 0, time, depth: depth + 1 };
            inner.everything()
        })
    }

    /// Behind its `(`.
    fn bracketed(&mut self) -> Parsed {
        let mut items = Vec::new();
        let mut is_tuple = false;
        while !self.take(")") {
            items.push(self.expression()?);
            if self.take(",") {
                is_tuple = true;
            } else if !self.take_back(")") {
                return Err(NOT_A_LITERAL);
            }
        }
        match items.pop() {
            Some(only) if !is_tuple => Ok(only),
            last => {
                items.extend(last);
                light(Value::List(items))
            }
        }
    }

    fn name(&mut self, name: &str) -> Parsed {
        match name {
            "None" => return Ok(Value::None),
            "True" => return Ok(Value::Flag(true)),
            "False" => return Ok(Value::Flag(false)),
            // The folder of the configuration is what all its paths are relative to.
            "__file__" => return Ok(Value::Text("config.py".to_owned())),
            _ if self.time == Some(name) => return Ok(Value::Moment),
            _ => {}
        }
        let Some(assignment) = self.module.names.get(name) else { return Ok(Value::Name(name.to_owned())) };
        self.module.used.insert(name.to_owned());
        match &assignment.value {
            Value::Unknown(why) => Err(why),
            value => Ok(value.clone()),
        }
    }
}

/// Refuses what has grown too large: a file of a few lines could double a text with each.
fn light(value: Value) -> Parsed {
    /// What a collection itself counts: bounds how deep they nest, line by line.
    const LEVEL: usize = 64;
    fn weight(value: &Value) -> usize {
        match value {
            Value::Text(text) | Value::Template(text, _) | Value::Name(text) => 1 + text.len(),
            Value::List(items) => LEVEL + items.iter().map(weight).sum::<usize>(),
            Value::Dict(entries) => {
                LEVEL + entries.iter().map(|(key, value)| weight(key) + weight(value)).sum::<usize>()
            }
            Value::Function(inner) => 1 + weight(inner),
            _ => 1,
        }
    }
    if weight(&value) > MOST_WEIGHT { Err("too large") } else { Ok(value) }
}

fn calculate(sign: &str, left: Value, right: Value) -> Parsed {
    let whole = match (&left, &right) {
        (Value::Int(a), Value::Int(b)) => match sign {
            "+" => a.checked_add(*b),
            "-" => a.checked_sub(*b),
            "*" => a.checked_mul(*b),
            "//" => a.checked_div_euclid(*b),
            "%" => a.checked_rem_euclid(*b),
            "**" => u32::try_from(*b).ok().and_then(|power| a.checked_pow(power)),
            _ => None,
        },
        _ => None,
    };
    if let Some(number) = whole {
        return Ok(Value::Int(number));
    }
    let float = |value: &Value| match value {
        Value::Int(number) => Ok(*number as f64),
        Value::Float(number) => Ok(*number),
        _ => Err(NOT_A_LITERAL),
    };
    let (a, b) = (float(&left)?, float(&right)?);
    let number = match sign {
        "+" => a + b,
        "-" => a - b,
        "*" => a * b,
        "/" => a / b,
        "//" => (a / b).floor(),
        _ => return Err(NOT_A_LITERAL),
    };
    if number.is_finite() { Ok(Value::Float(number)) } else { Err("a number that can't be calculated") }
}

/// The functions of Python that configurations call.
fn call(function: &str, arguments: Vec<Value>) -> Parsed {
    let name = function.strip_prefix("os.").unwrap_or(function);
    match (name, &arguments[..]) {
        ("path.join", _) => joined(arguments, "/"),
        ("path.abspath" | "path.realpath" | "path.expanduser" | "path.normpath", [Value::Text(path)]) => {
            if path.starts_with('~') {
                return Err("a path that depends on the user");
            }
            Ok(Value::Text(normal(path)))
        }
        ("path.dirname", [Value::Text(path)]) => {
            Ok(Value::Text(path.rsplit_once('/').map_or("", |(folder, _)| folder).to_owned()))
        }
        ("path.normpath", [value @ Value::Template(..)]) => Ok(value.clone()),
        ("str", [Value::Text(_)])
        | ("int", [Value::Int(_)])
        | ("float", [Value::Int(_) | Value::Float(_)])
        | ("tuple" | "list", [Value::List(_)]) => Ok(arguments[0].clone()),
        ("str", [Value::Int(number)]) => Ok(Value::Text(number.to_string())),
        ("str", [Value::Field(specifier, digits)]) => Ok(Value::Template((*specifier).to_owned(), *digits == 4)),
        ("\u{1}strftime", [Value::Text(text)]) => Ok(Value::Template(text.clone(), true)),
        ("environ.get" | "getenv", _) => Err("it comes from the environment; write `${NAME}` for it"),
        _ => Err("a call of a function"),
    }
}

/// `logs/x` of `./logs/./a/../x`.
fn normal(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if path.starts_with('/') => {}
            _ => parts.push(part),
        }
    }
    let root = if path.starts_with('/') { "/" } else { "" };
    format!("{root}{}", parts.join("/"))
}

fn part_of_time(name: &str) -> Value {
    match name {
        "year" => Value::Field("%Y", 4),
        "month" => Value::Field("%m", 2),
        "day" => Value::Field("%d", 2),
        "hour" => Value::Field("%H", 2),
        "minute" => Value::Field("%M", 2),
        "second" => Value::Field("%S", 2),
        // Called next; no name of Python's begins like this.
        "strftime" => Value::Name("\u{1}strftime".to_owned()),
        _ => Value::Unknown("a part of the time that has no place in a file name"),
    }
}

/// Texts and templates one behind the other. `between` is put where a path needs it.
fn joined(parts: impl IntoIterator<Item = Value>, between: &str) -> Parsed {
    let parts: Vec<Value> = parts.into_iter().collect();
    let is_template = parts.iter().any(|part| matches!(part, Value::Template(..)));
    let mut whole = String::new();
    let mut padded = true;
    for part in parts {
        let text = match part {
            Value::Text(text) if is_template => text.replace('%', "%%"),
            Value::Text(text) => text,
            Value::Template(text, is_padded) => {
                padded &= is_padded;
                text
            }
            _ => return Err(NOT_A_LITERAL),
        };
        if !between.is_empty() && text.starts_with(between) {
            // As Python has it: an absolute path begins anew.
            whole.clear();
        } else if !whole.is_empty() && !whole.ends_with(between) {
            whole.push_str(between);
        }
        whole.push_str(&text);
    }
    Ok(if is_template { Value::Template(whole, padded) } else { Value::Text(whole) })
}

/// A value as `{:spec}` prints it.
fn formatted(value: &Value, spec: &str) -> Parsed {
    let spec = spec.trim_end_matches(['d', 's']);
    match value {
        Value::Moment if spec.contains('%') => Ok(Value::Template(spec.to_owned(), true)),
        Value::Field(specifier, digits) => {
            let is_padded = *digits == 4 && ["", "4"].contains(&spec)
                || spec.strip_prefix('0').is_some_and(|width| width.parse() == Ok(*digits));
            let is_plain = is_padded || spec.is_empty();
            if !is_plain {
                return Err("a format of the time that can't be carried over");
            }
            Ok(Value::Template((*specifier).to_owned(), is_padded))
        }
        Value::Text(_) | Value::Template(..) if spec.is_empty() => Ok(value.clone()),
        Value::Int(number) if spec.is_empty() => Ok(Value::Text(number.to_string())),
        _ => Err("a format that can't be read"),
    }
}

/// `"{:04}/{}".format(...)`.
fn format_method(text: &str, items: &[Value]) -> Parsed {
    let mut next = 0;
    fill(text, |name| {
        let (place, attribute) = name.split_once('.').map_or((name, None), |(place, name)| (place, Some(name)));
        let at = match place {
            "" => {
                next += 1;
                next - 1
            }
            _ => place.parse().map_err(|_| NOT_A_LITERAL)?,
        };
        match (items.get(at), attribute) {
            (Some(Value::Moment), Some(name)) => Ok(part_of_time(name)),
            (Some(value), None) => Ok(value.clone()),
            _ => Err(NOT_A_LITERAL),
        }
    })
}

/// Puts values into `{name:spec}`; `{{` is a brace.
fn fill(text: &str, mut value_of: impl FnMut(&str) -> Parsed) -> Parsed {
    let mut parts = Vec::new();
    let mut plain = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}']) {
        plain.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some(after) = rest.strip_prefix("{{").or_else(|| rest.strip_prefix("}}")) {
            plain.push_str(&rest[..1]);
            rest = after;
            continue;
        }
        let end = rest.find('}').filter(|end| *end > 0).ok_or(NOT_A_LITERAL)?;
        let (name, spec) = rest[1..end].split_once(':').unwrap_or((&rest[1..end], ""));
        parts.push(Value::Text(std::mem::take(&mut plain)));
        parts.push(formatted(&value_of(name)?, spec)?);
        rest = &rest[end + 1..];
    }
    plain.push_str(rest);
    parts.push(Value::Text(plain));
    joined(parts, "")
}

/// `"%04d/%s" % (...)`.
fn percent(text: &str, items: Vec<Value>) -> Parsed {
    let mut items = items.into_iter();
    let mut parts = Vec::new();
    let mut pieces = text.split('%');
    parts.push(Value::Text(pieces.next().unwrap_or("").to_owned()));
    while let Some(piece) = pieces.next() {
        if piece.is_empty() {
            // `%%`, and the text behind it.
            parts.push(Value::Text(format!("%{}", pieces.next().unwrap_or(""))));
            continue;
        }
        let end = piece.find(['d', 's', 'i']).ok_or(NOT_A_LITERAL)?;
        parts.push(formatted(&items.next().ok_or(NOT_A_LITERAL)?, &piece[..end])?);
        parts.push(Value::Text(piece[end + 1..].to_owned()));
    }
    if items.next().is_some() { Err(NOT_A_LITERAL) } else { joined(parts, "") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(text: &str) -> Module {
        let mut module = Module::default();
        read(&mut module, text, &mut |_| None).unwrap();
        module
    }

    fn value(expression: &str) -> Value {
        module(&format!("helper = 'h'\nx = {expression}\n")).names.remove("x").unwrap().value
    }

    fn text(text: &str) -> Value {
        Value::Text(text.to_owned())
    }

    #[test]
    fn plain_values_and_what_configurations_calculate() {
        for (expression, expected) in [
            ("None", Value::None),
            ("True", Value::Flag(true)),
            ("-5", Value::Int(-5)),
            ("1024*1024*32", Value::Int(32 << 20)),
            ("32 * 2**20", Value::Int(32 << 20)),
            ("1 << 20", Value::Unknown(NOT_A_LITERAL)),
            ("5 / 2", Value::Float(2.5)),
            ("(5)", Value::Int(5)),
            ("(500, 400)", Value::List(vec![Value::Int(500), Value::Int(400)])),
            ("500, 400", Value::List(vec![Value::Int(500), Value::Int(400)])),
            ("[500,]", Value::List(vec![Value::Int(500)])),
            ("'a' \"b\" + 'c'", text("abc")),
            ("'a/%s-%d' % (helper, 3)", text("a/h-3")),
            ("logging.DEBUG", Value::Name("logging.DEBUG".to_owned())),
            (
                "os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), './logs/a.log'))",
                text("logs/a.log"),
            ),
            ("os.path.join('/var', 'log')", text("/var/log")),
            ("os.path.join('a', '/var')", text("/var")),
            ("1 / 0", Value::Unknown("a number that can't be calculated")),
            ("2 ** 99", Value::Unknown(NOT_A_LITERAL)),
            ("open('x').read()", Value::Unknown("a call of a function")),
            ("a if b else c", Value::Unknown(NOT_A_LITERAL)),
            ("", Value::Unknown(NOT_A_LITERAL)),
        ] {
            assert_eq!(value(expression), expected, "{expression}");
        }
    }

    #[test]
    fn names_of_times_become_templates() {
        let body = |expression: &str| {
            let text = format!("def f(dts):\n    \"\"\"Why.\"\"\"\n    return {expression}\n");
            module(&text).names.remove("f").unwrap().value
        };
        for (expression, template, padded) in [
            ("'{:04}/{:02}/{:02}'.format(dts.year, dts.month, dts.day)", "%Y/%m/%d", true),
            ("'{0.year}-{0:%m}'.format(dts)", "%Y-%m", true),
            ("'{}/{}'.format(dts.year, dts.month)", "%Y/%m", false),
            ("'%04d-%02d' % (dts.year, dts.month)", "%Y-%m", true),
            ("'100%%/%d' % dts.year", "100%%/%Y", true),
            ("f'{dts.year:04}/{dts:%m}'", "%Y/%m", true),
            ("dts.strftime('%Y/%m')", "%Y/%m", true),
            ("os.path.join(str(dts.year), '%02d' % dts.month)", "%Y/%m", true),
            ("'day ' + str(dts.day)", "day %d", false),
        ] {
            let expected = Value::Function(Box::new(Value::Template(template.to_owned(), padded)));
            assert_eq!(body(expression), expected, "{expression}");
        }
        for expression in ["'{:03}'.format(dts.month)", "dts.isoformat()", "name_of(dts)", "'%d %d' % (dts.year)"] {
            assert!(
                matches!(body(expression), Value::Function(value) if matches!(*value, Value::Unknown(_))),
                "{expression}"
            );
        }
        let lambda = value("lambda t: t.strftime('%Y')");
        assert_eq!(lambda, Value::Function(Box::new(Value::Template("%Y".to_owned(), true))));
        let in_one = module("def f(dts: datetime) -> str: return dts.strftime('%d')").names.remove("f").unwrap().value;
        assert_eq!(in_one, Value::Function(Box::new(Value::Template("%d".to_owned(), true))));
        let longer = module("def f(t):\n  x = 1\n  return 'a'\n").names.remove("f").unwrap().value;
        assert!(matches!(longer, Value::Function(value) if matches!(*value, Value::Unknown(_))));
    }

    #[test]
    fn forms_of_assignments() {
        let found = module(
            "a = b = 1\nc: int = 2\nconfig.d = 3\nconfig['e'] = 4\nclass Config(object):\n    f = 5\nboth = {'g': 6, \
             'h': what(), 'i': [7]}\nmore = dict(j=8)\nif x:\n    k = 9\nl = 10\nif x: pass\na == 3\nm += 1\n",
        );
        for (name, expected) in
            [("a", 1), ("b", 1), ("c", 2), ("d", 3), ("e", 4), ("f", 5), ("g", 6), ("j", 8), ("l", 10)]
        {
            assert_eq!(found.names[name].value, Value::Int(expected), "{name}");
        }
        assert!(matches!(found.names["h"].value, Value::Unknown(_)));
        assert_eq!(found.names["i"].value, Value::List(vec![Value::Int(7)]));
        assert_eq!(found.conditional, BTreeMap::from([("k".to_owned(), 10)]));
        assert!(!found.names.contains_key("k") && !found.names.contains_key("m"));
    }

    #[test]
    fn an_imported_file_is_read_in_its_place() {
        let mut found = Module::default();
        let text = "a = 1\nb = 1\nif there():\n    from machine import *\nb = 3\n";
        read(&mut found, text, &mut |name| (name == "machine").then(|| "a = 2\nb = 2\n".to_owned())).unwrap();
        assert_eq!((&found.names["a"].value, &found.names["b"].value), (&Value::Int(2), &Value::Int(3)));
        let fault = read(&mut found, text, &mut |_| Some("a = 2\nb = '".to_owned())).unwrap_err();
        assert_eq!(fault, Fault { module: Some("machine".to_owned()), line: 2, what: "a string is not closed" });
    }

    #[test]
    fn nothing_grows_or_nests_without_bound() {
        let nested = format!("x = {}1{}\n", "(".repeat(100_000), ")".repeat(100_000));
        assert!(matches!(module(&nested).names["x"].value, Value::Unknown(_)));
        let powers = format!("x = 1{}\n", "**1".repeat(100_000));
        assert!(matches!(module(&powers).names["x"].value, Value::Unknown(_)));
        let doubled = format!("x = 'abc'\n{}", "x = x + x\n".repeat(60));
        assert!(matches!(module(&doubled).names["x"].value, Value::Unknown(_)));
        let lists = format!("x = 1\n{}", "x = [x]\n".repeat(100_000));
        assert!(matches!(module(&lists).names["x"].value, Value::Unknown(_)));
    }

    proptest::proptest! {
        #[test]
        fn no_text_is_a_panic(text in "([a-z]{1,2}|[=(){}\\[\\],:.%+*'\"f\\\\#\n -]|def f\\(t\\):|return |\\{:02\\}|[0-9]|\\PC){0,40}") {
            let _ = read(&mut Module::default(), &text, &mut |_| None);
        }
    }
}
