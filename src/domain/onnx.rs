//! ONNX files: how large the pictures are that a model takes and what it calls what it knows, which OpenCV does not tell;
//! and the same model in words that older versions of OpenCV understand.
//!
//! They are messages of Protocol Buffers. Only what is named here is read, everything else is passed over, or passed on
//! as it is.

use std::collections::HashMap;

/// `ModelProto`
const GRAPH: u64 = 7;
const NOTE: u64 = 14;
/// `StringStringEntryProto`
const NOTE_KEY: u64 = 1;
const NOTE_VALUE: u64 = 2;
/// `GraphProto`
const NODE: u64 = 1;
const INITIALIZER: u64 = 5;
const INPUT: u64 = 11;
/// `ValueInfoProto`: its name; and its type, the tensor in it, its shape, a side of that, and its size.
const INPUT_NAME: u64 = 1;
const SIDE: [u64; 4] = [2, 1, 2, 1];
const SIZE: u64 = 1;
/// `NodeProto`
const NODE_INPUT: u64 = 1;
const NODE_OUTPUT: u64 = 2;
const NODE_OPERATION: u64 = 4;
const NODE_ATTRIBUTE: u64 = 5;
/// `AttributeProto`: name, the tensor that it is, whole numbers, and that it is these.
const ATTRIBUTE_NAME: u64 = 1;
const ATTRIBUTE_TENSOR: u64 = 5;
const ATTRIBUTE_WHOLE: u64 = 8;
const ATTRIBUTE_KIND: u64 = 20;
const KIND_WHOLES: u64 = 7;
/// `TensorProto`
const TENSOR_SIDES: u64 = 1;
const TENSOR_KIND: u64 = 2;
const TENSOR_WHOLE: u64 = 7;
const TENSOR_NAME: u64 = 8;
const TENSOR_RAW: u64 = 9;
const KIND_FLOAT: u64 = 1;
const KIND_WHOLE: u64 = 7;

/// Where a model takes any size.
const USUAL_SIDE: u32 = 640;
/// Larger ones are no models for one picture.
const LARGEST_SIDE: u32 = 4096;
/// Numbers that say where a box is.
const BOX: u64 = 4;

/// What a model takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Input {
    /// In pixels.
    pub width: u32,
    pub height: u32,
    /// It takes no other size.
    pub is_fixed: bool,
}

/// The pictures that a model takes: `[1, 3, height, width]`. None: it is no ONNX file, or it takes something else.
pub fn input(file: &[u8]) -> Option<Input> {
    let graph = fields(file).find_map(|field| field.bytes(GRAPH))?;
    // Old exports list their weights as inputs, too.
    let weights: Vec<&[u8]> = messages(graph, INITIALIZER).filter_map(|weight| first(weight, TENSOR_NAME)).collect();
    let input =
        messages(graph, INPUT).find(|input| first(input, INPUT_NAME).is_none_or(|name| !weights.contains(&name)))?;
    let mut inside = vec![input];
    for number in SIDE {
        inside = inside.into_iter().flat_map(|message| messages(message, number)).collect();
    }
    let size = |side: &[u8]| fields(side).find_map(|field| field.number(SIZE)).filter(|size| *size > 0);
    let sides: Vec<Option<u64>> = inside.into_iter().map(size).collect();
    let [batch, Some(3), height, width] = sides[..] else { return None };
    if batch.is_some_and(|batch| batch != 1) {
        return None;
    }
    let side = |side: Option<u64>| match side {
        None => Some(USUAL_SIDE),
        Some(side) => u32::try_from(side).ok().filter(|side| *side <= LARGEST_SIDE),
    };
    Some(Input { width: side(width)?, height: side(height)?, is_fixed: width.is_some() && height.is_some() })
}

/// The names of what a model knows, by their numbers, where it was exported with them (as Ultralytics does): the note
/// `names` is then `{0: 'person', 1: 'bicycle'}`.
pub fn class_names(file: &[u8]) -> Option<Vec<String>> {
    let note = messages(file, NOTE).find(|note| first(note, NOTE_KEY) == Some(b"names"))?;
    let text = std::str::from_utf8(first(note, NOTE_VALUE)?).ok()?;
    let mut rest = text.trim().strip_prefix('{')?.strip_suffix('}')?.trim();
    let mut names = Vec::new();
    while !rest.is_empty() {
        let (number, after) = rest.split_once(':')?;
        let after = after.trim_start();
        let quote = after.chars().next().filter(|quote| matches!(quote, '\'' | '"'))?;
        let (name, after) = after.get(1..)?.split_once(quote)?;
        if number.trim().parse() != Ok(names.len()) || name.trim().is_empty() {
            return None;
        }
        names.push(name.trim().to_owned());
        rest = after.trim_start().trim_start_matches(',').trim_start();
    }
    (!names.is_empty()).then_some(names)
}

/// The same model for versions of OpenCV before 4.7, which do not understand the usual exports of YOLOv8 and those after
/// it. They know `Split` as it was before its thirteenth version, with its sizes as an attribute; and they do not
/// multiply boxes, `[1, 4, n]`, by one number for each, `[1, n]`. None: there is nothing of this in it.
pub fn in_older_words(file: &[u8]) -> Option<Vec<u8>> {
    let graph = fields(file).find_map(|field| field.bytes(GRAPH))?;
    let constants = constants(graph);
    let mut changed = false;
    let mut added: HashMap<Vec<u8>, Vec<u8>> = HashMap::new();
    let mut new_graph = Vec::with_capacity(graph.len());
    for field in fields(graph) {
        let new = field.bytes(NODE).and_then(|node| match first(node, NODE_OPERATION)? {
            b"Split" => split_by_attribute(node, &constants),
            b"Mul" => multiplied_by_all(node, &constants, &mut added),
            _ => None,
        });
        match new {
            Some(node) => {
                changed = true;
                put_bytes(&mut new_graph, NODE, &node);
            }
            None => new_graph.extend_from_slice(field.whole),
        }
    }
    added.into_values().for_each(|tensor| put_bytes(&mut new_graph, INITIALIZER, &tensor));
    changed.then(|| {
        let mut new = Vec::with_capacity(file.len());
        for field in fields(file) {
            match field.bytes(GRAPH) {
                Some(_) => put_bytes(&mut new, GRAPH, &new_graph),
                None => new.extend_from_slice(field.whole),
            }
        }
        new
    })
}

/// The tensors that are in the file, by their names.
fn constants(graph: &[u8]) -> HashMap<&[u8], &[u8]> {
    let weights = messages(graph, INITIALIZER).filter_map(|tensor| Some((first(tensor, TENSOR_NAME)?, tensor)));
    let nodes = messages(graph, NODE).filter(|node| first(node, NODE_OPERATION) == Some(b"Constant"));
    let constants = nodes.filter_map(|node| {
        let tensor = messages(node, NODE_ATTRIBUTE).find_map(|attribute| first(attribute, ATTRIBUTE_TENSOR))?;
        Some((first(node, NODE_OUTPUT)?, tensor))
    });
    weights.chain(constants).collect()
}

/// `Split` with its sizes as an attribute, where they are a constant input.
fn split_by_attribute(node: &[u8], constants: &HashMap<&[u8], &[u8]>) -> Option<Vec<u8>> {
    let sizes = messages(node, NODE_INPUT).nth(1)?;
    let tensor = constants.get(sizes)?;
    if fields(tensor).find_map(|field| field.number(TENSOR_KIND)) != Some(KIND_WHOLE) {
        return None;
    }
    let numbers: Vec<u64> = match first(tensor, TENSOR_RAW) {
        Some(raw) => raw.chunks_exact(8).filter_map(|bytes| Some(u64::from_le_bytes(bytes.try_into().ok()?))).collect(),
        None => numbers(tensor, TENSOR_WHOLE),
    };
    let mut inputs = 0;
    let mut new = Vec::with_capacity(node.len());
    for field in fields(node) {
        let is_input = field.bytes(NODE_INPUT).is_some();
        inputs += usize::from(is_input);
        if !is_input || inputs == 1 {
            new.extend_from_slice(field.whole);
        }
    }
    let mut attribute = Vec::new();
    put_bytes(&mut attribute, ATTRIBUTE_NAME, b"split");
    numbers.into_iter().for_each(|size| put_number(&mut attribute, ATTRIBUTE_WHOLE, size));
    put_number(&mut attribute, ATTRIBUTE_KIND, KIND_WHOLES);
    put_bytes(&mut new, NODE_ATTRIBUTE, &attribute);
    Some(new)
}

/// `Mul` with the constant of one number a box four times, once for each number of a box, where it has such a constant.
fn multiplied_by_all(
    node: &[u8],
    constants: &HashMap<&[u8], &[u8]>,
    added: &mut HashMap<Vec<u8>, Vec<u8>>,
) -> Option<Vec<u8>> {
    let inputs: Vec<&[u8]> = messages(node, NODE_INPUT).collect();
    let [one, other] = inputs[..] else { return None };
    let (name, tensor) = match (constants.get(one), constants.get(other)) {
        (None, Some(tensor)) => (other, tensor),
        (Some(tensor), None) => (one, tensor),
        _ => return None,
    };
    let [1, boxes] = numbers(tensor, TENSOR_SIDES)[..] else { return None };
    let raw = first(tensor, TENSOR_RAW)?;
    let is_float = fields(tensor).find_map(|field| field.number(TENSOR_KIND)) == Some(KIND_FLOAT);
    if !is_float || boxes < 2 || u64::try_from(raw.len()) != Ok(4 * boxes) {
        return None;
    }
    let new_name = [name, b" of each box"].concat();
    added.entry(new_name.clone()).or_insert_with(|| {
        let mut tensor = Vec::new();
        [1, BOX, boxes].into_iter().for_each(|side| put_number(&mut tensor, TENSOR_SIDES, side));
        put_number(&mut tensor, TENSOR_KIND, KIND_FLOAT);
        put_bytes(&mut tensor, TENSOR_NAME, &new_name);
        put_bytes(&mut tensor, TENSOR_RAW, &raw.repeat(BOX as usize));
        tensor
    });
    let mut new = Vec::with_capacity(node.len() + new_name.len());
    for field in fields(node) {
        match field.bytes(NODE_INPUT) {
            Some(input) if input == name => put_bytes(&mut new, NODE_INPUT, &new_name),
            _ => new.extend_from_slice(field.whole),
        }
    }
    Some(new)
}

/// The fields of this number that are messages or texts.
fn messages(message: &[u8], number: u64) -> impl Iterator<Item = &[u8]> {
    fields(message).filter_map(move |field| field.bytes(number))
}

fn first(message: &[u8], number: u64) -> Option<&[u8]> {
    messages(message, number).next()
}

/// The whole numbers of a field, one by one or packed.
fn numbers(message: &[u8], number: u64) -> Vec<u64> {
    let mut all = Vec::new();
    for field in fields(message).filter(|field| field.number == number) {
        match field.value {
            Value::Number(value) => all.push(value),
            Value::Bytes(mut packed) => all.extend(std::iter::from_fn(|| varint(&mut packed))),
            Value::Fixed => {}
        }
    }
    all
}

fn put_varint(to: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        to.push(value as u8 | 0x80);
        value >>= 7;
    }
    to.push(value as u8);
}

fn put_number(to: &mut Vec<u8>, field: u64, value: u64) {
    put_varint(to, field << 3);
    put_varint(to, value);
}

fn put_bytes(to: &mut Vec<u8>, field: u64, content: &[u8]) {
    put_varint(to, field << 3 | 2);
    put_varint(to, content.len() as u64);
    to.extend_from_slice(content);
}

/// One field of a message.
struct Field<'a> {
    number: u64,
    value: Value<'a>,
    /// As it stands there.
    whole: &'a [u8],
}

enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    /// Four or eight bytes, which nothing here has.
    Fixed,
}

impl<'a> Field<'a> {
    fn bytes(&self, number: u64) -> Option<&'a [u8]> {
        match self.value {
            Value::Bytes(bytes) if self.number == number => Some(bytes),
            _ => None,
        }
    }

    fn number(&self, number: u64) -> Option<u64> {
        match self.value {
            Value::Number(value) if self.number == number => Some(value),
            _ => None,
        }
    }
}

/// The fields of a message, up to where it can't be read any more.
fn fields(mut message: &[u8]) -> impl Iterator<Item = Field<'_>> {
    std::iter::from_fn(move || {
        let before = message;
        let tag = varint(&mut message)?;
        let value = match tag & 7 {
            0 => Value::Number(varint(&mut message)?),
            1 => take(&mut message, 8).map(|_| Value::Fixed)?,
            2 => {
                let length = usize::try_from(varint(&mut message)?).ok()?;
                Value::Bytes(take(&mut message, length)?)
            }
            5 => take(&mut message, 4).map(|_| Value::Fixed)?,
            _ => return None,
        };
        let whole = before.get(..before.len() - message.len())?;
        Some(Field { number: tag >> 3, value, whole })
    })
}

fn take<'a>(message: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, rest) = message.split_at_checked(length)?;
    *message = rest;
    Some(taken)
}

fn varint(message: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = *take(message, 1)?.first()?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn number(field: u64, value: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        put_number(&mut bytes, field, value);
        bytes
    }

    fn message(field: u64, content: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        put_bytes(&mut bytes, field, content);
        bytes
    }

    /// An input of these sides; 0: of any size, which has a name.
    fn taken(name: &str, sides: &[u64]) -> Vec<u8> {
        let side = |side: &u64| match side {
            0 => message(1, &message(2, b"any")),
            side => message(1, &number(1, *side)),
        };
        let shape: Vec<u8> = sides.iter().flat_map(side).collect();
        let tensor = [number(1, 1), message(2, &shape)].concat();
        message(11, &[message(1, name.as_bytes()), message(2, &message(1, &tensor))].concat())
    }

    fn model(graph: &[u8]) -> Vec<u8> {
        [number(1, 8), message(2, b"somebody"), message(7, graph)].concat()
    }

    #[test]
    fn the_size_is_read_past_weights() {
        let graph = [message(5, &message(8, b"w")), taken("w", &[64, 3, 3, 3]), taken("images", &[1, 3, 384, 640])];
        let expected = Input { width: 640, height: 384, is_fixed: true };
        assert_eq!(input(&model(&graph.concat())), Some(expected));
    }

    #[test]
    fn any_size_is_the_usual_one_and_what_is_no_picture_is_none() {
        let any = Input { width: 640, height: 640, is_fixed: false };
        assert_eq!(input(&model(&taken("images", &[0, 3, 0, 0]))), Some(any));
        for sides in [&[1, 3, 640][..], &[1, 1, 64, 64], &[8, 3, 64, 64], &[1, 3, 64, 9000], &[]] {
            assert_eq!(input(&model(&taken("images", sides))), None, "{sides:?}");
        }
        assert_eq!(input(b""), None);
        assert_eq!(input(b"<html>not a model</html>"), None);
    }

    fn node(operation: &str, inputs: &[&str], output: &str, attributes: &[u8]) -> Vec<u8> {
        let mut node: Vec<u8> = inputs.iter().flat_map(|input| message(1, input.as_bytes())).collect();
        node.extend([message(2, output.as_bytes()), message(4, operation.as_bytes()), attributes.to_vec()].concat());
        message(1, &node)
    }

    fn tensor(name: &str, sides: &[u64], kind: u64, raw: &[u8]) -> Vec<u8> {
        let sides: Vec<u8> = sides.iter().flat_map(|side| number(1, *side)).collect();
        [sides, number(2, kind), message(8, name.as_bytes()), message(9, raw)].concat()
    }

    #[test]
    fn what_older_versions_do_not_know_is_said_in_their_words() {
        let floats: Vec<u8> = [8f32, 16.0].iter().flat_map(|value| value.to_le_bytes()).collect();
        let sizes: Vec<u8> = [4u64, 80].iter().flat_map(|value| value.to_le_bytes()).collect();
        let axis = message(5, &[message(1, b"axis"), number(3, 1), number(20, 2)].concat());
        let strides = message(5, &[message(1, b"value"), message(5, &tensor("", &[1, 2], 1, &floats))].concat());
        let before = [
            node("Split", &["all", "sizes"], "boxes", &axis),
            node("Split", &["all"], "halves", &axis),
            node("Constant", &[], "strides", &strides),
            node("Mul", &["boxes", "strides"], "pixels", &[]),
            node("Mul", &["pixels", "pixels"], "squares", &[]),
            message(5, &tensor("sizes", &[2], 7, &sizes)),
            taken("images", &[1, 3, 64, 64]),
        ];
        let attribute = [message(1, b"split"), number(8, 4), number(8, 80), number(20, 7)].concat();
        let after = [
            node("Split", &["all"], "boxes", &[axis, message(5, &attribute)].concat()),
            before[1].clone(),
            before[2].clone(),
            node("Mul", &["boxes", "strides of each box"], "pixels", &[]),
            before[4].clone(),
            before[5].clone(),
            before[6].clone(),
            message(5, &tensor("strides of each box", &[1, 4, 2], 1, &floats.repeat(4))),
        ];
        let told = in_older_words(&model(&before.concat())).unwrap();
        assert_eq!(told, model(&after.concat()));
        assert_eq!(in_older_words(&told), None, "and nothing is left to say");
        assert_eq!(in_older_words(b"no model"), None);
    }

    #[test]
    fn names_are_read_if_they_are_all_there() {
        let noted = |key: &str, text: &str| {
            let note = [message(1, key.as_bytes()), message(2, text.as_bytes())].concat();
            class_names(&[model(&[]), message(14, &message(1, b"stride")), message(14, &note)].concat())
        };
        let names = noted("names", "{0: 'person', 1: 'hot dog', 2: \"driver's seat\"}").unwrap();
        assert_eq!(names, ["person", "hot dog", "driver's seat"]);
        for text in ["", "{}", "{1: 'person'}", "{0: person}", "{0: 'person'", "{0: 'person", "{0: ''}", "['person']"] {
            assert_eq!(noted("names", text), None, "{text}");
        }
        assert_eq!(noted("task", "{0: 'person'}"), None);
    }

    proptest! {
        #[test]
        fn damage_is_no_panic(cut in 0usize..400, at in 0usize..400, byte in any::<u8>()) {
            let nodes = [node("Split", &["all", "w"], "x", &[]), node("Mul", &["x", "w"], "y", &[])].concat();
            let graph = [nodes, message(5, &tensor("w", &[1, 2], 1, &[0; 8])), taken("images", &[1, 3, 384, 640])];
            let note = [message(1, b"names"), message(2, b"{0: 'person'}")].concat();
            let mut file = [model(&graph.concat()), message(14, &note)].concat();
            if let Some(there) = file.get_mut(at) {
                *there = byte;
            }
            file.truncate(cut);
            let _ = (input(&file), in_older_words(&file), class_names(&file));
        }
    }
}
