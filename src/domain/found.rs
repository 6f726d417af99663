//! What a model found in pictures: from the numbers that it puts out to things with a class, a score and a box.
//!
//! Belongs here: which outputs of models are known, reading them, which of two boxes of one thing stays, what an event
//! keeps of several pictures. Does not belong here: running a model (`media::confirm`).

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::finding::Region;

/// Two boxes of a class that share more than this of their union are of one thing.
const SAME_THING: f32 = 0.45;
/// Things that a picture, and an event, are told to hold at most: those with the highest scores.
const MOST_FOUND: usize = 32;
/// Boxes of a picture that are compared with each other at most; a broken model may put out thousands.
const MOST_COMPARED: usize = 2000;
/// As many rows are put out by models that leave one box a thing (`yolov10`: 300), and no others.
const FEW_ROWS: usize = 1000;

/// Something that a model knows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Found {
    /// Such as `person`.
    pub class: String,
    /// How sure the model is, 0 to 1.
    pub score: f32,
    /// Where, in shares of the whole picture.
    #[serde(rename = "box")]
    pub region: Region,
}

/// What the numbers of a model's output mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OutputFormat {
    /// `[1, boxes, 5 + classes]`: middle, size, whether there is anything, and how likely each class is.
    Yolov5,
    /// `[1, 4 + classes, boxes]`: the same without the fifth, a column a box. YOLOv8, v9 and 11.
    Yolov8,
    /// `[1, boxes, 6]`: two corners, score and number of the class; one box a thing.
    Yolov10,
}

impl OutputFormat {
    /// All of them, as the configuration has them.
    pub const NAMES: [(&'static str, OutputFormat); 3] =
        [("yolov5", OutputFormat::Yolov5), ("yolov8", OutputFormat::Yolov8), ("yolov10", OutputFormat::Yolov10)];

    pub fn name(self) -> &'static str {
        Self::NAMES.into_iter().find(|(_, format)| *format == self).map_or("", |(name, _)| name)
    }

    /// What an output of this shape is taken for. YOLOv5 with one class and few boxes looks like YOLOv10.
    fn of_shape(rows: usize, columns: usize) -> Self {
        match (rows, columns) {
            (..=FEW_ROWS, 6) => OutputFormat::Yolov10,
            _ if rows > columns => OutputFormat::Yolov5,
            _ => OutputFormat::Yolov8,
        }
    }
}

/// An output that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    pub format: OutputFormat,
    rows: usize,
    columns: usize,
}

impl Output {
    /// An output of this shape, in the format that is given or that its shape suggests.
    ///
    /// # Errors
    /// In words for whoever configures it: the shape is none that can be read.
    pub fn of(shape: &[i64], format: Option<OutputFormat>) -> Result<Self, String> {
        let told = || {
            let sides: Vec<String> = shape.iter().map(i64::to_string).collect();
            format!("its output is [{}]", sides.join(", "))
        };
        let sizes: Vec<usize> = shape.iter().filter_map(|side| usize::try_from(*side).ok()).collect();
        let (rows, columns) = match sizes[..] {
            [1, rows, columns] if sizes.len() == shape.len() && rows > 0 && columns > 0 => (rows, columns),
            _ => return Err(format!("{}, and not [1, boxes, values] or [1, values, boxes]", told())),
        };
        let output = Output { format: format.unwrap_or_else(|| OutputFormat::of_shape(rows, columns)), rows, columns };
        let values = output.values();
        let fits = match output.format {
            OutputFormat::Yolov5 => values >= 6,
            OutputFormat::Yolov8 => values >= 5,
            OutputFormat::Yolov10 => values == 6,
        };
        if fits { Ok(output) } else { Err(format!("{}, which is no output of {}", told(), output.format.name())) }
    }

    /// Numbers a box.
    fn values(&self) -> usize {
        if self.format == OutputFormat::Yolov8 { self.rows } else { self.columns }
    }

    fn boxes(&self) -> usize {
        if self.format == OutputFormat::Yolov8 { self.columns } else { self.rows }
    }

    /// How many classes the model knows; None where its output does not tell.
    pub fn classes(&self) -> Option<usize> {
        match self.format {
            OutputFormat::Yolov5 => Some(self.values().saturating_sub(5)),
            OutputFormat::Yolov8 => Some(self.values().saturating_sub(4)),
            OutputFormat::Yolov10 => None,
        }
    }

    /// What is found in an output: of things with at least `threshold`, each once, the surest first. Where there are
    /// fewer numbers than the shape says, the rest is not looked at.
    pub fn read(&self, data: &[f32], fit: &Letterbox, threshold: f32, classes: &[String]) -> Vec<Found> {
        let value = |n: usize, value: usize| {
            let at = match self.format {
                OutputFormat::Yolov8 => value * self.columns + n,
                OutputFormat::Yolov5 | OutputFormat::Yolov10 => n * self.columns + value,
            };
            data.get(at).copied().unwrap_or(f32::NAN)
        };
        // The most likely class of those from this value on.
        let likeliest = |n: usize, first: usize| {
            let scores = (first..self.values()).map(|at| (at - first, value(n, at)));
            scores.filter(|(_, score)| score.is_finite()).max_by(|one, other| one.1.total_cmp(&other.1))
        };
        let mut candidates: Vec<Candidate> = (0..self.boxes())
            .filter_map(|n| {
                let four = [0, 1, 2, 3].map(|at| value(n, at));
                let (class, score, corners) = match self.format {
                    OutputFormat::Yolov5 => {
                        let (class, score) = likeliest(n, 5)?;
                        (class, score * value(n, 4), around(four))
                    }
                    OutputFormat::Yolov8 => {
                        let (class, score) = likeliest(n, 4)?;
                        (class, score, around(four))
                    }
                    OutputFormat::Yolov10 => (whole(value(n, 5))?, value(n, 4), four),
                };
                let is_one = score >= threshold && corners.iter().all(|side| side.is_finite());
                is_one.then_some(Candidate { class, score: score.min(1.0), corners })
            })
            .collect();
        candidates.sort_by(|one, other| other.score.total_cmp(&one.score));
        candidates.truncate(MOST_COMPARED);
        if self.format != OutputFormat::Yolov10 {
            candidates = each_once(candidates);
        }
        let found = candidates.into_iter().filter_map(|Candidate { class, score, corners }| {
            Some(Found { class: classes.get(class)?.clone(), score: short(score), region: fit.undo(corners)? })
        });
        found.take(MOST_FOUND).collect()
    }
}

/// A box in pixels of the model's input: left, top, right, bottom.
struct Candidate {
    class: usize,
    score: f32,
    corners: [f32; 4],
}

/// The corners of a box with this middle and size.
fn around([x, y, width, height]: [f32; 4]) -> [f32; 4] {
    [x - width / 2.0, y - height / 2.0, x + width / 2.0, y + height / 2.0]
}

fn whole(number: f32) -> Option<usize> {
    (0.0..1e6).contains(&number).then(|| number.round() as usize)
}

/// Of boxes that lie on each other and are of one class, the surest stays. Takes them in that order.
fn each_once(candidates: Vec<Candidate>) -> Vec<Candidate> {
    let mut kept: Vec<Candidate> = Vec::new();
    for candidate in candidates {
        let is_known = |known: &Candidate| {
            known.class == candidate.class && overlap(known.corners, candidate.corners) > SAME_THING
        };
        if !kept.iter().any(is_known) {
            kept.push(candidate);
        }
    }
    kept
}

/// The share of the union of two boxes that both cover.
fn overlap(one: [f32; 4], other: [f32; 4]) -> f32 {
    let area = |[left, top, right, bottom]: [f32; 4]| (right - left).max(0.0) * (bottom - top).max(0.0);
    let both = area([one[0].max(other[0]), one[1].max(other[1]), one[2].min(other[2]), one[3].min(other[3])]);
    let either = area(one) + area(other) - both;
    if either > 0.0 { both / either } else { 0.0 }
}

/// Finer than any picture; and a row is short.
fn short(share: f32) -> f32 {
    (share.clamp(0.0, 1.0) * 1e4).round() / 1e4
}

/// How a picture lies in a model's input: as large as fits, in the middle, with bars beside it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Letterbox {
    /// The picture's size in the input.
    pub width: u32,
    pub height: u32,
    /// Bars left of it and above it.
    pub left: u32,
    pub top: u32,
}

impl Letterbox {
    /// A picture of this size in an input of that. Sizes of 0 count as 1.
    pub fn fit(picture: (u32, u32), input: (u32, u32)) -> Self {
        let (picture, input) = ((picture.0.max(1), picture.1.max(1)), (input.0.max(1), input.1.max(1)));
        let scale = (f64::from(input.0) / f64::from(picture.0)).min(f64::from(input.1) / f64::from(picture.1));
        let side = |picture: u32, input: u32| ((f64::from(picture) * scale).round() as u32).clamp(1, input);
        let (width, height) = (side(picture.0, input.0), side(picture.1, input.1));
        Letterbox { width, height, left: (input.0 - width) / 2, top: (input.1 - height) / 2 }
    }

    /// A box of the input in shares of the picture; None where nothing of it is in the picture.
    pub fn undo(&self, [left, top, right, bottom]: [f32; 4]) -> Option<Region> {
        let share = |at: f32, bar: u32, side: u32| short((at - bar as f32) / side as f32);
        let (left, right) = (share(left, self.left, self.width), share(right, self.left, self.width));
        let (top, bottom) = (share(top, self.top, self.height), share(bottom, self.top, self.height));
        let is_inside = left < right && top < bottom;
        is_inside.then(|| Region { left, top, width: short(right - left), height: short(bottom - top) })
    }
}

/// Takes what one more picture of an event holds: of each class, what the picture holds in which it was surest. True if
/// that changes anything.
pub fn merge(known: &mut Vec<Found>, picture: &[Found]) -> bool {
    let best = |found: &[Found], class: &str| {
        found.iter().filter(|found| found.class == class).map(|found| found.score).fold(f32::NEG_INFINITY, f32::max)
    };
    let before = known.clone();
    let mut classes: Vec<&str> = picture.iter().map(|found| found.class.as_str()).collect();
    classes.sort_unstable();
    classes.dedup();
    for class in classes {
        if best(picture, class) > best(known, class) {
            known.retain(|found| found.class != class);
            known.extend(picture.iter().filter(|found| found.class == class).cloned());
        }
    }
    known.sort_by(|one, other| other.score.total_cmp(&one.score));
    known.truncate(MOST_FOUND);
    *known != before
}

/// The names of what was found, each once, the surest first.
pub fn classes_of(found: &[Found]) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    for Found { class, .. } in found {
        if !names.contains(&class.as_str()) {
            names.push(class);
        }
    }
    names
}

/// The names of what a model with this output knows, by their numbers: those that are `given`, else its `own`, else those
/// of COCO, where it knows as many.
///
/// # Errors
/// In words for whoever configures it: there are not as many names as the model knows classes.
pub fn names(output: &Output, given: &[String], own: Option<&[String]>) -> Result<Vec<String>, String> {
    let names = match (given, own) {
        ([], Some(own)) => own.to_vec(),
        ([], None) => COCO.map(str::to_owned).to_vec(),
        _ => given.to_vec(),
    };
    match output.classes() {
        Some(known) if known != names.len() && given.is_empty() => {
            Err(format!("knows {known} classes, which have no names"))
        }
        Some(known) if known != names.len() => Err(format!("knows {known} classes, and {} are named", names.len())),
        _ => Ok(names),
    }
}

/// The 80 classes of the COCO data set, in the order in which models that were trained on it number them.
pub const COCO: [&str; 80] = [
    "person",
    "bicycle",
    "car",
    "motorcycle",
    "airplane",
    "bus",
    "train",
    "truck",
    "boat",
    "traffic light",
    "fire hydrant",
    "stop sign",
    "parking meter",
    "bench",
    "bird",
    "cat",
    "dog",
    "horse",
    "sheep",
    "cow",
    "elephant",
    "bear",
    "zebra",
    "giraffe",
    "backpack",
    "umbrella",
    "handbag",
    "tie",
    "suitcase",
    "frisbee",
    "skis",
    "snowboard",
    "sports ball",
    "kite",
    "baseball bat",
    "baseball glove",
    "skateboard",
    "surfboard",
    "tennis racket",
    "bottle",
    "wine glass",
    "cup",
    "fork",
    "knife",
    "spoon",
    "bowl",
    "banana",
    "apple",
    "sandwich",
    "orange",
    "broccoli",
    "carrot",
    "hot dog",
    "pizza",
    "donut",
    "cake",
    "chair",
    "couch",
    "potted plant",
    "bed",
    "dining table",
    "toilet",
    "tv",
    "laptop",
    "mouse",
    "remote",
    "keyboard",
    "cell phone",
    "microwave",
    "oven",
    "toaster",
    "sink",
    "refrigerator",
    "book",
    "clock",
    "vase",
    "scissors",
    "teddy bear",
    "hair drier",
    "toothbrush",
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names_of(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    /// A picture that fills its input of 100x100.
    fn square() -> Letterbox {
        Letterbox::fit((100, 100), (100, 100))
    }

    /// Class, score in percent, and left, top, width, height in percent.
    fn told(found: &[Found]) -> Vec<(&str, u32, [u32; 4])> {
        let percent = |share: f32| (share * 100.0).round() as u32;
        found
            .iter()
            .map(|Found { class, score, region: Region { left, top, width, height } }| {
                (class.as_str(), percent(*score), [*left, *top, *width, *height].map(percent))
            })
            .collect()
    }

    #[test]
    fn shapes_tell_the_format_and_how_many_classes_there_are() {
        use OutputFormat::*;
        for (shape, format, classes) in [
            ([1, 25200, 85], Yolov5, Some(80)),
            ([1, 25200, 6], Yolov5, Some(1)),
            ([1, 84, 8400], Yolov8, Some(80)),
            ([1, 5, 8400], Yolov8, Some(1)),
            ([1, 300, 6], Yolov10, None),
        ] {
            let output = Output::of(&shape, None).unwrap();
            assert_eq!((output.format, output.classes()), (format, classes), "{shape:?}");
        }
        assert_eq!(Output::of(&[1, 300, 6], Some(Yolov5)).unwrap().classes(), Some(1));
        for (shape, format) in [
            (&[1, 1000][..], None),
            (&[2, 84, 8400], None),
            (&[1, 84, -1], None),
            (&[1, 0, 6], None),
            (&[1, 3, 80, 80], None),
            (&[1, 3, 9000], None),
            (&[1, 84, 8400], Some(Yolov10)),
            (&[1, 300, 5], Some(Yolov5)),
        ] {
            let refused = Output::of(shape, format).unwrap_err();
            assert!(refused.contains("its output is ["), "{refused}");
        }
    }

    #[test]
    fn names_are_those_that_are_given_or_the_models_own_or_cocos() {
        let of = |shape: [i64; 3]| Output::of(&shape, None).unwrap();
        let (two, eighty, any) = (of([1, 6, 50]), of([1, 84, 8400]), of([1, 300, 6]));
        let (own, given) = (names_of(&["a", "b"]), names_of(&["c", "d"]));
        assert_eq!(names(&two, &given, Some(&own)), Ok(given.clone()));
        assert_eq!(names(&two, &[], Some(&own)), Ok(own.clone()));
        assert_eq!(names(&eighty, &[], None).unwrap()[2], "car");
        assert_eq!(names(&any, &given, None), Ok(given.clone()));
        assert_eq!(names(&two, &[], None), Err("knows 2 classes, which have no names".to_owned()));
        assert_eq!(names(&eighty, &given, Some(&own)), Err("knows 80 classes, and 2 are named".to_owned()));
    }

    #[test]
    fn rows_of_yolov5_are_read() {
        let output = Output::of(&[1, 3, 7], Some(OutputFormat::Yolov5)).unwrap();
        #[rustfmt::skip]
        let data = [
            50.0, 40.0, 20.0, 40.0, 0.9, 0.1, 0.8,
            50.0, 40.0, 20.0, 40.0, 0.4, 0.1, 0.9,
            10.0, 10.0, 20.0, 20.0, 1.0, 0.6, 0.2,
        ];
        let found = output.read(&data, &square(), 0.5, &names_of(&["cat", "dog"]));
        assert_eq!(told(&found), [("dog", 72, [40, 20, 20, 40]), ("cat", 60, [0, 0, 20, 20])]);
    }

    #[test]
    fn columns_of_yolov8_are_read_and_each_thing_is_told_once() {
        let output = Output::of(&[1, 6, 8], Some(OutputFormat::Yolov8)).unwrap();
        #[rustfmt::skip]
        let data = [
            // The same thing twice; the same place, but another class; elsewhere; and below the threshold.
            50.0, 52.0, 50.0, 20.0, 20.0, 0.0, 0.0, 0.0,
            50.0, 50.0, 50.0, 80.0, 20.0, 0.0, 0.0, 0.0,
            40.0, 40.0, 40.0, 20.0, 10.0, 0.0, 0.0, 0.0,
            40.0, 40.0, 40.0, 20.0, 10.0, 0.0, 0.0, 0.0,
            0.80, 0.95, 0.10, 0.70, 0.49, 0.0, 0.0, 0.0,
            0.10, 0.00, 0.60, 0.20, 0.00, 0.0, 0.0, 0.0,
        ];
        let found = output.read(&data, &square(), 0.5, &names_of(&["cat", "dog"]));
        let expected = [("cat", 95, [32, 30, 40, 40]), ("cat", 70, [10, 70, 20, 20]), ("dog", 60, [30, 30, 40, 40])];
        assert_eq!(told(&found), expected);
    }

    #[test]
    fn rows_of_yolov10_are_read() {
        let output = Output::of(&[1, 4, 6], Some(OutputFormat::Yolov10)).unwrap();
        #[rustfmt::skip]
        let data = [
            10.0, 20.0, 30.0, 60.0, 0.9, 1.0,
            10.0, 20.0, 30.0, 60.0, 0.8, 0.0,
            10.0, 20.0, 30.0, 60.0, 0.7, 9.0,
            10.0, 20.0, 30.0, 60.0, 0.3, 0.0,
        ];
        let found = output.read(&data, &square(), 0.5, &names_of(&["cat", "dog"]));
        assert_eq!(told(&found), [("dog", 90, [10, 20, 20, 40]), ("cat", 80, [10, 20, 20, 40])]);
    }

    #[test]
    fn bars_are_taken_off_again() {
        let wide = Letterbox::fit((1280, 720), (640, 640));
        assert_eq!(wide, Letterbox { width: 640, height: 360, left: 0, top: 140 });
        let region = wide.undo([320.0, 320.0, 480.0, 680.0]).unwrap();
        assert_eq!(region, Region { left: 0.5, top: 0.5, width: 0.25, height: 0.5 });
        assert_eq!(wide.undo([0.0, 0.0, 640.0, 140.0]), None, "in a bar");
        let high = Letterbox::fit((360, 640), (320, 320));
        assert_eq!(high, Letterbox { width: 180, height: 320, left: 70, top: 0 });
        assert_eq!(Letterbox::fit((0, 9), (0, 0)), Letterbox { width: 1, height: 1, left: 0, top: 0 });
    }

    #[test]
    fn an_event_keeps_of_each_class_its_best_picture() {
        let one = |class: &str, score| Found {
            class: class.to_owned(),
            score,
            region: Region { left: 0.0, top: 0.0, width: score, height: 0.5 },
        };
        let mut known = Vec::new();
        assert!(!merge(&mut known, &[]));
        assert!(merge(&mut known, &[one("cat", 0.7), one("cat", 0.6), one("dog", 0.9)]));
        assert!(!merge(&mut known, &[one("cat", 0.65), one("dog", 0.9)]), "no better");
        assert!(merge(&mut known, &[one("cat", 0.8)]));
        assert_eq!(known, [one("dog", 0.9), one("cat", 0.8)]);
        assert_eq!(classes_of(&[one("dog", 0.9), one("cat", 0.8), one("dog", 0.7)]), ["dog", "cat"]);
    }

    #[test]
    fn the_classes_of_coco_are_all_there_once() {
        let mut sorted = COCO.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!((sorted.len(), COCO[0], COCO[79]), (80, "person", "toothbrush"));
    }

    proptest! {
        /// Whatever a model puts out, what is told is in the picture, sure enough, and not endless.
        #[test]
        fn any_numbers_are_read(
            format in 0usize..3, rows in 1i64..40, columns in 1i64..40,
            data in prop::collection::vec(prop_oneof![any::<f32>(), -50f32..150.0, 0f32..1.0], 0..1600),
        ) {
            let (_, format) = OutputFormat::NAMES[format];
            let Ok(output) = Output::of(&[1, rows, columns], Some(format)) else { return Ok(()) };
            let classes: Vec<String> = (0..40).map(|n| n.to_string()).collect();
            let found = output.read(&data, &Letterbox::fit((160, 90), (100, 100)), 0.25, &classes);
            prop_assert!(found.len() <= MOST_FOUND);
            prop_assert!(found.windows(2).all(|two| two[0].score >= two[1].score));
            for Found { score, region: Region { left, top, width, height }, .. } in found {
                prop_assert!((0.25..=1.0).contains(&score));
                prop_assert!(left >= 0.0 && top >= 0.0 && width > 0.0 && height > 0.0);
                prop_assert!(left + width <= 1.0001 && top + height <= 1.0001);
            }
        }
    }
}
