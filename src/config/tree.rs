//! A YAML text as a tree of values that each know their file, line and column.
//!
//! The tree is bounded in depth and in number of values, aliases counted as what they stand for, so that no file
//! can cost more than its size suggests. What a key means is not known here.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use saphyr_parser::{Event, Parser, ScalarStyle, Span};

use super::expand::{Environment, expand};
use super::problem::{Mark, Problem};

const MOST_VALUES: usize = 10_000;
const MOST_TEXT_BYTES: usize = 4 * 1024 * 1024;
const DEEPEST: usize = 16;

#[derive(Clone, Debug)]
pub(super) struct Node {
    pub at: Mark,
    pub extent: Extent,
    pub content: Content,
}

impl Node {
    /// A value that stands in no text.
    pub fn without_text(at: Mark, content: Content) -> Self {
        Node { at, extent: Extent::default(), content }
    }
}

/// From where to where a value goes in its text, in characters from 0; for those who edit it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Extent {
    /// Of a text after `|` or `>`: where its first line begins.
    pub start: usize,
    /// Of a section or a list by indentation: somewhere behind its start; it ends with the last that is in it.
    pub end: usize,
    /// By indentation: no brackets, no quotes.
    pub is_block: bool,
}

impl Extent {
    fn of(span: &Span) -> Self {
        Extent { start: span.start.index(), end: span.end.index(), is_block: false }
    }

    /// Only brackets have an end of their own.
    fn end_at(&mut self, span: &Span) {
        self.is_block = span.is_empty();
        // The parser counts what follows on the line to the bracket.
        self.end = span.start.index() + usize::from(!self.is_block);
    }
}

#[derive(Clone, Debug)]
pub(super) enum Content {
    Null,
    /// A value that could not be read, which is reported already.
    Broken,
    Scalar(Scalar),
    Map(Vec<Entry>),
    List(Vec<Node>),
}

/// A value as text; what type it is, its key decides.
#[derive(Clone, Debug)]
pub(super) struct Scalar {
    /// With `${NAME}` filled in: may hold a secret.
    pub text: String,
    /// As it stands in the file.
    pub written: String,
}

#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub key: String,
    pub key_at: Mark,
    pub key_extent: Extent,
    pub value: Node,
}

/// A tree of what could be understood, and what is wrong with the rest. None: nothing but comments.
pub(super) fn parse(file: &Path, text: &str, environment: &Environment) -> (Option<Node>, Vec<Problem>) {
    let mut builder = Builder {
        parser: Parser::new_from_str(text),
        text,
        chars: text.chars().collect(),
        file: file.into(),
        environment,
        anchors: BTreeMap::new(),
        cost: Cost::default(),
        problems: Vec::new(),
    };
    let root = match builder.document() {
        Ok(root) => root,
        Err(Stop(problem)) => {
            builder.problems.push(*problem);
            None
        }
    };
    (root, builder.problems)
}

struct Builder<'a> {
    parser: Parser<'a, saphyr_parser::StrInput<'a>>,
    text: &'a str,
    chars: Vec<char>,
    file: Arc<Path>,
    environment: &'a Environment,
    /// The value of each anchor and what it counts for.
    anchors: BTreeMap<usize, (Node, Cost)>,
    cost: Cost,
    problems: Vec<Problem>,
}

/// What a tree takes, aliases counted as what they stand for.
#[derive(Clone, Copy, Default)]
struct Cost {
    values: usize,
    text_bytes: usize,
}

/// The rest of the file can't be understood. Boxed, as it is rare and large.
struct Stop(Box<Problem>);

impl<'a> Builder<'a> {
    fn document(&mut self) -> Result<Option<Node>, Stop> {
        let mut root = None;
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamEnd => return Ok(root),
                Event::DocumentStart(_) if root.is_some() => {
                    let hint = "one file holds one document: remove the `---` or split the file";
                    return Err(self.stop(&span, "a second YAML document begins here", hint));
                }
                Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd | Event::Nothing => {}
                _ => {
                    let node = self.node(event, span, 0)?;
                    let empty = matches!(node.content, Content::Null);
                    root = (!empty || root.is_some()).then_some(node);
                }
            }
        }
    }

    fn next(&mut self) -> Result<(Event<'a>, Span), Stop> {
        match self.parser.next_event() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => {
                let at = self.mark(&Span::empty(*error.marker()));
                let line = self.text.lines().nth(at.line as usize - 1).unwrap_or_default();
                let hint = match line.contains("${") {
                    true => "inside `{}` a `${NAME}` needs quotes",
                    false => "look at the indentation, the quotes and the colons of this line and the one before",
                };
                Err(Stop(Box::new(at.problem(format!("not valid YAML: {}", error.info()), hint.to_owned()))))
            }
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    fn node(&mut self, event: Event<'a>, span: Span, depth: usize) -> Result<Node, Stop> {
        let at = self.mark(&span);
        let mut extent = Extent::of(&span);
        let before = self.cost;
        let text_bytes = if let Event::Scalar(text, ..) = &event { text.len() } else { 0 };
        self.count(&span, Cost { values: 1, text_bytes })?;
        if depth > DEEPEST {
            return Err(self.stop(&span, "nested too deeply", "no key lies as deep as this"));
        }
        let (anchor, tag, content) = match event {
            Event::Alias(anchor) => {
                let Some((node, cost)) = self.anchors.get(&anchor).cloned() else {
                    return Err(self.stop(&span, "an alias of the value it is part of", "remove it"));
                };
                self.count(&span, cost)?;
                return Ok(Node { extent, ..node });
            }
            Event::Scalar(text, style, anchor, tag) => {
                match style {
                    ScalarStyle::Literal | ScalarStyle::Folded => extent.is_block = true,
                    ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => extent.end = self.quote_end(extent),
                    ScalarStyle::Plain => {}
                }
                (anchor, tag, self.scalar(&at, &text, style))
            }
            Event::SequenceStart(anchor, tag) => (anchor, tag, self.list(depth, &mut extent)?),
            Event::MappingStart(anchor, tag) => (anchor, tag, self.map(depth, &mut extent)?),
            _ => return Err(self.stop(&span, "not valid YAML: a value is missing", "remove what is around it")),
        };
        if tag.is_some_and(|tag| !tag.is_yaml_core_schema()) {
            self.problems.push(at.problem("tags such as `!name` mean nothing here", "remove the tag".to_owned()));
        }
        let node = Node { at, extent, content };
        if anchor > 0 {
            let values = self.cost.values - before.values;
            let text_bytes = self.cost.text_bytes - before.text_bytes;
            self.anchors.insert(anchor, (node.clone(), Cost { values, text_bytes }));
        }
        Ok(node)
    }

    /// Behind the second quote of a text: the parser counts a comment behind it, too.
    fn quote_end(&self, extent: Extent) -> usize {
        let mut inside = (extent.start..extent.end).filter_map(|at| Some((at, *self.chars.get(at)?)));
        let Some((_, quote)) = inside.find(|(_, c)| matches!(c, '"' | '\'')) else { return extent.end };
        while let Some((at, c)) = inside.next() {
            match c {
                '\\' if quote == '"' => _ = inside.next(),
                _ if c != quote => {}
                // Twice is one of the text's.
                '\'' if self.chars.get(at + 1) == Some(&quote) => _ = inside.next(),
                _ => return at + 1,
            }
        }
        extent.end
    }

    fn scalar(&mut self, at: &Mark, text: &str, style: ScalarStyle) -> Content {
        if style == ScalarStyle::Plain && matches!(text, "" | "~" | "null" | "Null" | "NULL") {
            return Content::Null;
        }
        match expand(text, self.environment) {
            Ok(expanded) => Content::Scalar(Scalar { text: expanded, written: text.to_owned() }),
            Err((what, hint)) => {
                self.problems.push(at.problem(what, hint));
                Content::Broken
            }
        }
    }

    fn list(&mut self, depth: usize, extent: &mut Extent) -> Result<Content, Stop> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, span) => {
                    extent.end_at(&span);
                    return Ok(Content::List(items));
                }
                (event, span) => items.push(self.node(event, span, depth + 1)?),
            }
        }
    }

    fn map(&mut self, depth: usize, extent: &mut Extent) -> Result<Content, Stop> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut seen = HashSet::new();
        loop {
            let (event, span) = self.next()?;
            if event == Event::MappingEnd {
                extent.end_at(&span);
                return Ok(Content::Map(entries));
            }
            let key_at = self.mark(&span);
            let key_extent = Extent::of(&span);
            let key = match &event {
                Event::Scalar(text, ..) if is_plain_name(text) => Some(text.to_string()),
                _ => None,
            };
            let merge = matches!(&event, Event::Scalar(text, ..) if text == "<<");
            self.node(event, span, depth + 1)?;
            let (event, span) = self.next()?;
            let mut value = self.node(event, span, depth + 1)?;
            if matches!(value.content, Content::Null) {
                // Nothing has no place of its own.
                value.at = key_at.clone();
            }
            match key {
                Some(key) if seen.insert(key.clone()) => entries.push(Entry { key, key_at, key_extent, value }),
                Some(key) => {
                    let first = entries.iter().find(|entry| entry.key == key).map_or(0, |entry| entry.key_at.line);
                    let hint = format!("it is given in line {first} already; keep one of the two");
                    self.problems.push(key_at.problem(format!("the key `{key}` is given twice"), hint));
                }
                None if merge => self.problems.push(key_at.problem(
                    "merge keys (`<<`) are not supported",
                    "`defaults` in tarsier.yaml are merged under every camera".to_owned(),
                )),
                // Not quoted: it may be a piece of something secret that went astray.
                None => self.problems.push(key_at.problem(
                    "what stands before this `:` is no key",
                    "a key is a word such as `source`; put a value with a colon in quotes".to_owned(),
                )),
            }
        }
    }

    fn count(&mut self, span: &Span, more: Cost) -> Result<(), Stop> {
        self.cost.values += more.values;
        self.cost.text_bytes += more.text_bytes;
        if self.cost.values > MOST_VALUES || self.cost.text_bytes > MOST_TEXT_BYTES {
            return Err(self.stop(span, "too many or too large values", "a configuration holds a few dozen words"));
        }
        Ok(())
    }

    fn mark(&self, span: &Span) -> Mark {
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Mark { file: self.file.clone(), line: number(span.start.line()).max(1), column: number(span.start.col()) + 1 }
    }

    fn stop(&self, span: &Span, what: &str, hint: &str) -> Stop {
        Stop(Box::new(self.mark(span).problem(what, hint.to_owned())))
    }
}

/// A word that may be shown: no text with spaces, colons or an address in it.
pub(super) fn is_plain_name(text: &str) -> bool {
    !text.is_empty() && text.len() <= 40 && text.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.'))
}
