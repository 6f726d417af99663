//! The side of the process that looks: OpenCV's models, and one question after the other.

use std::fs;
use std::io::{self, BufRead, Read, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use opencv::core::{CV_32F, Mat, Rect, Scalar, Size, Vector};
use opencv::objdetect::HOGDescriptor;
use opencv::prelude::*;
use opencv::{dnn, imgproc};
use rustix::process::{Signal, nice, set_parent_process_death_signal};

use super::{Answer, Examined, LONGEST_SIDE, Look, Question};
use crate::domain::config::{ConfirmConfig, Model};
use crate::domain::found::{Found, Letterbox, Output, names};
use crate::domain::onnx;
use crate::media::picture::BgrView;

/// Models that are held in memory, those that were asked last.
const MOST_HELD: usize = 3;
/// Whoever records goes first.
const NICENESS: i32 = 10;
/// And is ended last, where memory is short.
const OOM_SCORE: &str = "500";
/// What pictures are filled up with, as the models have seen it when they learned.
const BARS: f64 = 114.0;
/// Pictures are scaled to this width for people to have the size that [`Model::Hog`] looks for.
const HOG_WIDTH: u32 = 640;
/// The least picture that it takes: one person.
const HOG_WINDOW: (u32, u32) = (64, 128);
const HOG_STEP: i32 = 8;
/// From one size of people to the next.
const HOG_SCALE: f64 = 1.05;
/// How many windows have to see a person.
const HOG_GROUP: f64 = 2.0;

/// Answers questions until there are no more. For the process that does nothing else.
pub fn serve(mut questions: impl BufRead, mut answers: impl Write) -> io::Result<()> {
    behave();
    let mut models = Models::default();
    let mut line = String::new();
    loop {
        line.clear();
        if questions.by_ref().take(1 << 20).read_line(&mut line)? == 0 {
            return Ok(());
        }
        let answer = match serde_json::from_str(&line)? {
            Question::Examine(model) => models.examine(&model).map(Answer::Examined),
            Question::Look(Look { config, width, height }) => {
                if width.max(height) > LONGEST_SIDE || width.min(height) == 0 {
                    return Err(io::Error::other("a picture of an impossible size"));
                }
                let mut data = vec![0; 3 * width as usize * height as usize];
                questions.read_exact(&mut data)?;
                models.look(BgrView { width, height, data: &data }, &config).map(Answer::Found)
            }
        };
        let answer = answer.unwrap_or_else(Answer::Failed);
        serde_json::to_writer(&mut answers, &answer)?;
        answers.write_all(b"\n")?;
        answers.flush()?;
    }
}

/// Ends with its parent, and comes after everyone else. Where a sandbox forbids it, it goes without.
fn behave() {
    let _ = set_parent_process_death_signal(Some(Signal::KILL));
    let _ = nice(NICENESS);
    let _ = fs::write("/proc/self/oom_score_adj", OOM_SCORE);
    let _ = opencv::core::set_num_threads(1);
}

/// Why a model gives no answer, in words.
type Cause = String;

fn told(error: opencv::Error) -> Cause {
    // A line that begins with `>` says more than the first, which says where in OpenCV.
    let lines =
        || error.message.lines().map(|line| line.trim_start_matches('>').trim()).filter(|line| !line.is_empty());
    lines().nth(1).or_else(|| lines().next()).unwrap_or("OpenCV does not say why").to_owned()
}

#[derive(Default)]
struct Models {
    hog: Option<HOGDescriptor>,
    /// The one that was asked last comes last.
    nets: Vec<Net>,
}

/// A model that was read from a file.
struct Net {
    path: PathBuf,
    modified: Option<SystemTime>,
    net: dnn::Net,
    input: (u32, u32),
    outputs: Vector<String>,
    examined: Examined,
}

impl Net {
    fn read(path: &Path) -> Result<Self, Cause> {
        let bytes = fs::read(path).map_err(|error| error.to_string())?;
        let modified = fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
        let input =
            onnx::input(&bytes).ok_or("it is no ONNX file, or its input is not [1, 3, height, width] (one picture)")?;
        let size = (input.width, input.height);
        // Some faults show only when it runs.
        let read = |bytes: &[u8]| -> opencv::Result<Net> {
            let mut net = dnn::read_net_from_onnx_buffer(&Vector::from_slice(bytes))?;
            net.set_preferable_backend(dnn::DNN_BACKEND_OPENCV)?;
            net.set_preferable_target(dnn::DNN_TARGET_CPU)?;
            let outputs = net.get_unconnected_out_layers_names()?;
            let examined = Examined { shape: Vec::new(), names: onnx::class_names(bytes) };
            let mut net = Net { path: path.to_owned(), modified, net, input: size, outputs, examined };
            let nothing = Mat::new_nd_with_default(&[1, 3, size.1 as i32, size.0 as i32], CV_32F, Scalar::all(0.0))?;
            net.examined.shape = shape(&net.run(&nothing)?);
            Ok(net)
        };
        let net = match (read(&bytes), onnx::in_older_words(&bytes)) {
            // What is wrong with the model itself says more than what is wrong with its changed words.
            (Err(error), Some(older)) => read(&older).map_err(|_| error),
            (net, _) => net,
        };
        net.map_err(told).map_err(|cause| match input.is_fixed {
            true => cause,
            false => format!("{cause}; its input has no fixed size (export it with one)"),
        })
    }

    fn is_current(&self) -> bool {
        fs::metadata(&self.path).and_then(|metadata| metadata.modified()).ok() == self.modified
    }

    /// The output that holds boxes: the largest with three sides, else the largest.
    fn run(&mut self, blob: &Mat) -> opencv::Result<Mat> {
        self.net.set_input(blob, "", 1.0, Scalar::default())?;
        let mut outputs = Vector::<Mat>::new();
        self.net.forward(&mut outputs, &self.outputs)?;
        let best = outputs.into_iter().max_by_key(|output| (output.dims() == 3, output.total()));
        best.ok_or_else(|| opencv::Error::new(opencv::core::StsError, "it puts out nothing"))
    }
}

fn shape(output: &Mat) -> Vec<i64> {
    output.mat_size().iter().map(|side| i64::from(*side)).collect()
}

impl Models {
    fn net(&mut self, path: &Path) -> Result<&mut Net, Cause> {
        self.nets.retain(|net| net.path != path || net.is_current());
        let net = match self.nets.iter().position(|net| net.path == path) {
            Some(at) => self.nets.remove(at),
            None => Net::read(path)?,
        };
        if self.nets.len() >= MOST_HELD {
            self.nets.remove(0);
        }
        self.nets.push(net);
        self.nets.last_mut().ok_or_else(|| "it is gone".to_owned())
    }

    fn examine(&mut self, path: &Path) -> Result<Examined, Cause> {
        self.net(path).map(|net| net.examined.clone())
    }

    fn look(&mut self, picture: BgrView, config: &ConfirmConfig) -> Result<Vec<Found>, Cause> {
        let mut found = match &config.model {
            Model::Hog => self.look_for_people(picture, config.threshold).map_err(told)?,
            Model::Onnx { path, format, classes } => {
                let net = self.net(path)?;
                let fit = Letterbox::fit((picture.width, picture.height), net.input);
                let output = blob(picture, &fit, net.input).and_then(|blob| net.run(&blob)).map_err(told)?;
                let data = output.data_typed::<f32>().map_err(told)?;
                let layout = Output::of(&shape(&output), *format)?;
                let names = names(&layout, classes, net.examined.names.as_deref())?;
                layout.read(data, &fit, config.threshold, &names)
            }
        };
        found.retain(|found| config.only.is_empty() || config.only.contains(&found.class));
        Ok(found)
    }

    /// OpenCV's own detector. The weight of what it sees is made a score: one half is one half, and more is more.
    fn look_for_people(&mut self, picture: BgrView, threshold: f32) -> opencv::Result<Vec<Found>> {
        let hog = match &mut self.hog {
            Some(hog) => hog,
            none => {
                let mut hog = HOGDescriptor::default()?;
                hog.set_svm_detector(HOGDescriptor::get_default_people_detector()?);
                none.insert(hog)
            }
        };
        // As high as the picture's shape asks for, and nothing is cut.
        let height = (u64::from(HOG_WIDTH) * u64::from(picture.height)).div_ceil(u64::from(picture.width)) as u32;
        let size = (HOG_WIDTH.max(HOG_WINDOW.0), height.clamp(HOG_WINDOW.1, 4 * HOG_WIDTH));
        let fit = Letterbox::fit((picture.width, picture.height), size);
        let mut grey = Mat::default();
        imgproc::cvt_color(&boxed(picture, &fit, size)?, &mut grey, imgproc::COLOR_BGR2GRAY, 0)?;
        let (mut places, mut weights) = (Vector::<Rect>::new(), Vector::<f64>::new());
        let step = Size::new(HOG_STEP, HOG_STEP);
        hog.detect_multi_scale_weights(&grey, &mut places, &mut weights, 0.0, step, step, HOG_SCALE, HOG_GROUP, false)?;
        let mut found: Vec<Found> = places
            .iter()
            .zip(weights.iter())
            .filter_map(|(Rect { x, y, width, height }, weight)| {
                let score = (weight.max(0.0) / (0.5 + weight.max(0.0))) as f32;
                let region = fit.undo([x, y, x + width, y + height].map(|side| side as f32))?;
                (score >= threshold).then(|| Found { class: Model::PERSON.to_owned(), score, region })
            })
            .collect();
        found.sort_by(|one, other| other.score.total_cmp(&one.score));
        Ok(found)
    }
}

/// A picture in the middle of one of another size.
fn boxed(picture: BgrView, fit: &Letterbox, (width, height): (u32, u32)) -> opencv::Result<Mat> {
    let rows = Mat::from_slice(picture.data)?;
    let rows = rows.reshape(3, picture.height as i32)?;
    let mut scaled = Mat::default();
    let size = Size::new(fit.width as i32, fit.height as i32);
    let way = if fit.width < picture.width { imgproc::INTER_AREA } else { imgproc::INTER_LINEAR };
    imgproc::resize(&rows, &mut scaled, size, 0.0, 0.0, way)?;
    let [left, top] = [fit.left, fit.top].map(|side| side as i32);
    let (right, bottom) = (width as i32 - left - size.width, height as i32 - top - size.height);
    let mut whole = Mat::default();
    let constant = opencv::core::BORDER_CONSTANT;
    opencv::core::copy_make_border(&scaled, &mut whole, top, bottom, left, right, constant, Scalar::all(BARS))?;
    Ok(whole)
}

/// A picture as models take it: red, green and blue planes of 0 to 1.
fn blob(picture: BgrView, fit: &Letterbox, input: (u32, u32)) -> opencv::Result<Mat> {
    let whole = boxed(picture, fit, input)?;
    let size = Size::new(input.0 as i32, input.1 as i32);
    dnn::blob_from_image(&whole, 1.0 / 255.0, size, Scalar::default(), true, false, CV_32F)
}
