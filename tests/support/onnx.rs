//! Tiny models in ONNX, written byte by byte: they tell by the colour of a part of the picture what is there.

use std::fs;
use std::path::Path;

/// Side of the model's input, in pixels.
const SIDE: u64 = 64;
/// It tells of so many parts of the picture in each direction.
const PARTS: u64 = 4;

/// What a model puts out. The eighth is written as today's exports are: it splits its numbers into boxes and classes by
/// an input, and multiplies each box by its square's size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    Yolov5,
    Yolov8,
    Yolov10,
}

/// Writes a model that knows two classes, a red thing and a blue one, in each of 4x4 squares of its 64x64 pixels. Its
/// score is one and a half times the mean of that colour, less green: what is grey or green is nothing.
pub fn write_colour_model(path: &Path, layout: Layout) {
    fs::write(path, colour_model(layout, "Conv")).unwrap();
}

/// The same with the names of what it knows in it, as Ultralytics writes them.
pub fn write_model_with_names(path: &Path) {
    let note = [bytes(1, b"names"), bytes(2, b"{0: 'red', 1: 'blue'}")].concat();
    fs::write(path, [colour_model(Layout::Yolov8, "Conv"), bytes(14, &note)].concat()).unwrap();
}

/// The same with an operation that nobody knows.
pub fn write_strange_model(path: &Path) {
    fs::write(path, colour_model(Layout::Yolov8, "Guess")).unwrap();
}

fn colour_model(layout: Layout, operation: &str) -> Vec<u8> {
    // A row of what a box says is three weights, for red, green and blue, and a constant.
    let (red, blue) = ([1.5, -1.5, 0.0, 0.0], [0.0, -1.5, 1.5, 0.0]);
    let (nothing, all) = ([0.0; 4], [0.0, 0.0, 0.0, 1.0]);
    let says: Vec<[f32; 4]> = match layout {
        Layout::Yolov5 => vec![nothing, nothing, nothing, nothing, all, red, blue],
        Layout::Yolov8 => vec![nothing, nothing, nothing, nothing, red, blue],
        // It names one class only.
        Layout::Yolov10 => vec![nothing, nothing, nothing, nothing, red, nothing],
    };
    let values = says.len() as u64;
    let weights: Vec<f32> = says.iter().flat_map(|row| row[..3].to_vec()).collect();
    let constants: Vec<f32> = says.iter().map(|row| row[3]).collect();
    // Where each square is.
    let square = (SIDE / PARTS) as f32;
    let mut places = Vec::new();
    for value in 0..values {
        for part in 0..PARTS * PARTS {
            let (left, top) = ((part % PARTS) as f32 * square, (part / PARTS) as f32 * square);
            let middle = [left + square / 2.0, top + square / 2.0, square, square];
            let four = match layout {
                Layout::Yolov5 => middle,
                Layout::Yolov8 => middle.map(|side| side / square),
                Layout::Yolov10 => [left, top, left + square, top + square],
            };
            places.push(four.get(value as usize).copied().unwrap_or(0.0));
        }
    }
    let pool = [ints("kernel_shape", &[SIDE / PARTS; 2]), ints("strides", &[SIDE / PARTS; 2])].concat();
    let mut graph = [
        node("AveragePool", &["images"], "means", &pool),
        node(operation, &["means", "weights", "constants"], "scores", &ints("kernel_shape", &[1, 1])),
        node("Add", &["scores", "places"], "told", &[]),
        node("Reshape", &["told", "shape"], "columns", &[]),
        bytes(2, b"colours"),
        floats("weights", &[values, 3, 1, 1], &weights),
        floats("constants", &[values], &constants),
        floats("places", &[1, values, PARTS, PARTS], &places),
        numbers("shape", &[1, values, PARTS * PARTS]),
        bytes(11, &value_of("images", &[1, 3, SIDE, SIDE])),
    ]
    .concat();
    if layout == Layout::Yolov8 {
        let axis = |axis| bytes(5, &[bytes(1, b"axis"), number(3, axis), number(20, 2)].concat());
        graph.extend(node_with("Split", &["columns", "parts"], &["boxes", "classes"], &axis(1)));
        graph.extend(node("Mul", &["boxes", "sizes"], "pixels", &[]));
        graph.extend(node("Concat", &["pixels", "classes"], "output", &axis(1)));
        graph.extend(numbers("parts", &[4, values - 4]));
        graph.extend(floats("sizes", &[1, PARTS * PARTS], &vec![square; (PARTS * PARTS) as usize]));
        graph.extend(bytes(12, &value_of("output", &[1, values, PARTS * PARTS])));
    } else {
        graph.extend(node("Transpose", &["columns"], "output", &ints("perm", &[0, 2, 1])));
        graph.extend(bytes(12, &value_of("output", &[1, PARTS * PARTS, values])));
    }
    let operations = number(2, 13);
    [number(1, 7), bytes(2, b"tests"), bytes(8, &operations), bytes(7, &graph)].concat()
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// A field with a number.
fn number(field: u64, value: u64) -> Vec<u8> {
    [varint(field << 3), varint(value)].concat()
}

/// A field with a text, or a message.
fn bytes(field: u64, content: &[u8]) -> Vec<u8> {
    [varint(field << 3 | 2), varint(content.len() as u64), content.to_vec()].concat()
}

fn node(operation: &str, inputs: &[&str], output: &str, attributes: &[u8]) -> Vec<u8> {
    node_with(operation, inputs, &[output], attributes)
}

fn node_with(operation: &str, inputs: &[&str], outputs: &[&str], attributes: &[u8]) -> Vec<u8> {
    let names =
        |field, names: &[&str]| -> Vec<u8> { names.iter().flat_map(|name| bytes(field, name.as_bytes())).collect() };
    let named = [bytes(3, outputs[0].as_bytes()), bytes(4, operation.as_bytes())].concat();
    bytes(1, &[names(1, inputs), names(2, outputs), named, attributes.to_vec()].concat())
}

/// An attribute of a node.
fn ints(name: &str, values: &[u64]) -> Vec<u8> {
    let values: Vec<u8> = values.iter().flat_map(|value| number(8, *value)).collect();
    bytes(5, &[bytes(1, name.as_bytes()), values, number(20, 7)].concat())
}

fn floats(name: &str, sides: &[u64], values: &[f32]) -> Vec<u8> {
    let raw: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    tensor(name, sides, 1, &raw)
}

fn numbers(name: &str, values: &[u64]) -> Vec<u8> {
    let raw: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    tensor(name, &[values.len() as u64], 7, &raw)
}

fn tensor(name: &str, sides: &[u64], kind: u64, raw: &[u8]) -> Vec<u8> {
    let sides: Vec<u8> = sides.iter().flat_map(|side| number(1, *side)).collect();
    bytes(5, &[sides, number(2, kind), bytes(8, name.as_bytes()), bytes(9, raw)].concat())
}

/// An input or output of 32 bit floats.
fn value_of(name: &str, sides: &[u64]) -> Vec<u8> {
    let sides: Vec<u8> = sides.iter().flat_map(|side| bytes(1, &number(1, *side))).collect();
    let tensor = [number(1, 1), bytes(2, &sides)].concat();
    [bytes(1, name.as_bytes()), bytes(2, &bytes(1, &tensor))].concat()
}
