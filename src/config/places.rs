//! Lists: masks, zones, and names of zones and of what models know. Each fault is reported at its item.

use serde::Deserialize;
use serde_yaml::{Mapping, Value};

use super::problem::Problem;
use super::table::{Items, nearest};
use super::tree::{Content, Node};
use super::units::{Span, percentage};
use crate::domain::finding::ZoneSet;
use crate::domain::zone::{Polygon, Zone};

const MOST_MASKS: usize = 64;
/// As many as the largest public data sets have.
pub(super) const MOST_CLASSES: usize = 1000;
/// Of a class, in characters.
const LONGEST_CLASS: usize = 40;
const ZONE_KEYS: [&str; 6] = ["name", "polygon", "min_area", "max_area", "sensitivity", "dwell"];
const CORNERS: &str = "corners are shares of the picture's width and height from the upper left, such as \
                       [[0, 0], [0.4, 0], [0.4, 0.1], [0, 0.1]]";

/// A polygon as the typed structures take it.
#[derive(Deserialize)]
#[serde(try_from = "Vec<(f32, f32)>")]
pub(super) struct PolygonList(pub Polygon);

impl TryFrom<Vec<(f32, f32)>> for PolygonList {
    type Error = String;

    fn try_from(corners: Vec<(f32, f32)>) -> Result<Self, String> {
        Polygon::new(corners).map(PolygonList)
    }
}

/// A zone as the typed structures take it: shares, seconds.
#[derive(Deserialize)]
pub(super) struct RawZone {
    name: String,
    polygon: PolygonList,
    min_area: Option<ShareText>,
    max_area: Option<ShareText>,
    sensitivity: Option<u32>,
    dwell: Option<Span>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(try_from = "String")]
struct ShareText(f32);

impl TryFrom<String> for ShareText {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        percentage(&text).flatten().map(|share| ShareText(share as f32)).ok_or("a percentage")
    }
}

impl From<RawZone> for Zone {
    fn from(raw: RawZone) -> Self {
        Zone {
            name: raw.name,
            polygon: raw.polygon.0,
            min_area: raw.min_area.map_or(0.0, |share| share.0),
            max_area: raw.max_area.map_or(1.0, |share| share.0),
            sensitivity: raw.sensitivity.unwrap_or(50),
            dwell: raw.dwell.map(|span| span.0).unwrap_or_default(),
        }
    }
}

/// The items of the list at `path`, checked.
pub(super) fn read(path: &str, items: Items, nodes: &[Node]) -> Result<Value, Problem> {
    let most = match items {
        Items::Masks => MOST_MASKS,
        Items::Zones | Items::ZoneNames => ZoneSet::MOST,
        Items::ClassNames => MOST_CLASSES,
    };
    if let Some(node) = nodes.get(most) {
        return Err(node.at.problem(format!("`{path}` holds at most {most}"), "remove some".to_owned()));
    }
    let read = |node: &Node| match items {
        Items::Masks => polygon(path, node),
        Items::Zones => zone(path, node),
        Items::ZoneNames => text(path, node).map(|name| Value::String(name.to_owned())),
        Items::ClassNames => {
            let name = text(path, node)?;
            let wrong = |what| node.at.problem(format!("`{path}`: {what}"), "such as `person`".to_owned());
            class_name(name).map(|name| Value::String(name.to_owned())).map_err(wrong)
        }
    };
    let values = nodes.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    if items == Items::Zones {
        let name = |n: usize| values.get(n).and_then(|zone| zone.get("name"));
        for (n, node) in nodes.iter().enumerate() {
            if (0..n).any(|before| name(before) == name(n)) {
                let hint = "give each zone a name of its own".to_owned();
                return Err(node.at.problem("two zones have the same name", hint));
            }
        }
    }
    Ok(Value::Sequence(values))
}

fn polygon(path: &str, node: &Node) -> Result<Value, Problem> {
    let wrong = |at: &Node, what: String| Err(at.at.problem(format!("`{path}`: {what}"), CORNERS.to_owned()));
    let Content::List(nodes) = &node.content else { return wrong(node, "a polygon is a list of corners".to_owned()) };
    let mut corners = Vec::new();
    for corner in nodes {
        let numbers = match &corner.content {
            Content::List(numbers) => numbers.as_slice(),
            _ => &[],
        };
        let number = |n: usize| match &numbers.get(n)?.content {
            Content::Scalar(scalar) => scalar.text.trim().parse::<f32>().ok().filter(|number| number.is_finite()),
            _ => None,
        };
        match (number(0), number(1), numbers.len()) {
            (Some(x), Some(y), 2) => corners.push((x, y)),
            _ => return wrong(corner, "a corner is two numbers".to_owned()),
        }
    }
    let value = corners.iter().map(|&(x, y)| Value::Sequence(vec![number(x), number(y)])).collect();
    match Polygon::new(corners) {
        Ok(_) => Ok(Value::Sequence(value)),
        Err(what) => wrong(node, what),
    }
}

/// With as few digits as it was written.
fn number(number: f32) -> Value {
    number.to_string().parse::<f64>().unwrap_or_default().into()
}

fn zone(path: &str, node: &Node) -> Result<Value, Problem> {
    let Content::Map(entries) = &node.content else {
        let hint = "write for example `- {name: drive, polygon: [[0, 0.5], [1, 0.5], [1, 1]]}`".to_owned();
        return Err(node.at.problem(format!("`{path}` holds zones, each with `name` and `polygon`"), hint));
    };
    let mut zone = Mapping::new();
    for entry in entries {
        let place = format!("{path}.{}", entry.key);
        let value = match entry.key.as_str() {
            "name" => Value::String(zone_name(&place, &entry.value)?),
            "polygon" => polygon(&place, &entry.value)?,
            "min_area" | "max_area" => {
                let written = text(&place, &entry.value)?;
                let expected = "must be a percentage of the picture, such as `0.5%`";
                percentage(written)
                    .flatten()
                    .ok_or_else(|| entry.value.at.problem(format!("`{place}` {expected}"), None))?;
                Value::String(written.to_owned())
            }
            "sensitivity" => match text(&place, &entry.value)?.parse::<u32>() {
                Ok(number) if (1..=100).contains(&number) => Value::from(number),
                _ => return Err(entry.value.at.problem(format!("`{place}` must be a number from 1 to 100"), None)),
            },
            "dwell" => match text(&place, &entry.value)?.parse::<Span>() {
                Ok(Span(span)) if span.as_secs() <= 3600 => Value::String(text(&place, &entry.value)?.to_owned()),
                _ => return Err(entry.value.at.problem(format!("`{place}` must be a duration of up to 1h"), None)),
            },
            key => {
                let hint = match nearest(key, ZONE_KEYS.into_iter()) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("a zone knows {}", ZONE_KEYS.join(", ")),
                };
                return Err(entry.key_at.problem(format!("unknown key `{place}`"), hint));
            }
        };
        zone.insert(entry.key.as_str().into(), value);
    }
    for needed in ["name", "polygon"] {
        if !zone.contains_key(needed) {
            let hint = format!("add `{needed}`");
            return Err(node.at.problem(format!("a zone of `{path}` has no `{needed}`"), hint));
        }
    }
    let limit = |key: &str| zone.get(key).and_then(Value::as_str).and_then(percentage).flatten();
    if let (Some(least), Some(most)) = (limit("min_area"), limit("max_area"))
        && least > most
    {
        return Err(node.at.problem(format!("a zone of `{path}` has a `min_area` above its `max_area`"), None));
    }
    Ok(Value::Mapping(zone))
}

fn zone_name(place: &str, node: &Node) -> Result<String, Problem> {
    let name = text(place, node)?;
    let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-');
    if name.is_empty() || name.len() > 40 || !name.chars().all(is_word) {
        let hint = "small letters, digits, `-` and `_`".to_owned();
        return Err(node.at.problem(format!("`{place}` is no name of a zone"), hint));
    }
    Ok(name.to_owned())
}

/// The name of something that a model knows, without white space around it.
pub(super) fn class_name(text: &str) -> Result<&str, &'static str> {
    let name = text.trim();
    let is_one = !name.is_empty() && name.chars().count() <= LONGEST_CLASS && !name.contains(char::is_control);
    if is_one { Ok(name) } else { Err("a class is a word or two") }
}

fn text<'a>(place: &str, node: &'a Node) -> Result<&'a str, Problem> {
    match &node.content {
        Content::Scalar(scalar) => Ok(&scalar.text),
        _ => Err(node.at.problem(format!("`{place}` must be a single value"), None)),
    }
}
