//! The head of an ONNX file: how large the pictures are that a model takes. OpenCV reads models, but does not tell that.
//!
//! Only what stands in fields of Protocol Buffers of these numbers is read: `ModelProto.graph`, its `input` and
//! `initializer`, and of an input its name and the sides of its shape.

const GRAPH: u64 = 7;
const INITIALIZER: u64 = 5;
const INITIALIZER_NAME: u64 = 8;
const INPUT: u64 = 11;
const INPUT_NAME: u64 = 1;
/// An input's type, the tensor in it, its shape, a side of that, and its size.
const SIDE: [u64; 4] = [2, 1, 2, 1];
const SIZE: u64 = 1;
/// Where a model takes any size.
const USUAL_SIDE: u32 = 640;
/// Larger ones are no models for one picture.
const LARGEST_SIDE: u32 = 4096;

/// Width and height of the pictures that a model takes: `[1, 3, height, width]`. None: it is no ONNX file, or it takes
/// something else.
pub fn input_size(file: &[u8]) -> Option<(u32, u32)> {
    let graph = fields(file).find_map(|field| field.bytes(GRAPH))?;
    // Old exports list their weights as inputs, too.
    let weights: Vec<&[u8]> = fields(graph)
        .filter_map(|field| field.bytes(INITIALIZER))
        .filter_map(|weight| fields(weight).find_map(|field| field.bytes(INITIALIZER_NAME)))
        .collect();
    let input = fields(graph).filter_map(|field| field.bytes(INPUT)).find(|input| {
        fields(input).find_map(|field| field.bytes(INPUT_NAME)).is_none_or(|name| !weights.contains(&name))
    })?;
    let mut inside = vec![input];
    for number in SIDE {
        inside = inside
            .into_iter()
            .flat_map(|message| fields(message).filter_map(move |field| field.bytes(number)))
            .collect();
    }
    let sides: Vec<Option<u64>> = inside
        .into_iter()
        .map(|side| fields(side).find_map(|field| field.number(SIZE)).filter(|size| *size > 0))
        .collect();
    let [batch, Some(3), height, width] = sides[..] else { return None };
    if batch.is_some_and(|batch| batch != 1) {
        return None;
    }
    let side = |side: Option<u64>| match side {
        None => Some(USUAL_SIDE),
        Some(side) => u32::try_from(side).ok().filter(|side| *side <= LARGEST_SIDE),
    };
    Some((side(width)?, side(height)?))
}

/// One field of a message.
struct Field<'a> {
    number: u64,
    value: Value<'a>,
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
        Some(Field { number: tag >> 3, value })
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
        for mut rest in [field << 3, value] {
            while rest >= 0x80 {
                bytes.push(rest as u8 | 0x80);
                rest >>= 7;
            }
            bytes.push(rest as u8);
        }
        bytes
    }

    fn message(field: u64, content: &[u8]) -> Vec<u8> {
        let mut bytes = number(field, content.len() as u64);
        bytes[0] |= 2;
        bytes.extend(content);
        bytes
    }

    /// An input of these sides; 0: of any size, which has a name.
    fn input(name: &str, sides: &[u64]) -> Vec<u8> {
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
        let graph = [message(5, &message(8, b"w")), input("w", &[64, 3, 3, 3]), input("images", &[1, 3, 384, 640])];
        assert_eq!(input_size(&model(&graph.concat())), Some((640, 384)));
    }

    #[test]
    fn any_size_is_the_usual_one_and_what_is_no_picture_is_none() {
        assert_eq!(input_size(&model(&input("images", &[0, 3, 0, 0]))), Some((640, 640)));
        for sides in [&[1, 3, 640][..], &[1, 1, 64, 64], &[8, 3, 64, 64], &[1, 3, 64, 9000], &[]] {
            assert_eq!(input_size(&model(&input("images", sides))), None, "{sides:?}");
        }
        assert_eq!(input_size(b""), None);
        assert_eq!(input_size(b"<html>not a model</html>"), None);
    }

    proptest! {
        #[test]
        fn damage_is_no_panic(cut in 0usize..200, at in 0usize..200, byte in any::<u8>()) {
            let mut file = model(&input("images", &[1, 3, 384, 640]));
            if let Some(there) = file.get_mut(at) {
                *there = byte;
            }
            file.truncate(cut);
            let _ = input_size(&file);
        }
    }
}
