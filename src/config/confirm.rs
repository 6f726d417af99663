//! `detect.confirm`: which model looks at an event's best pictures. The model is tried, so that a faulty one is a fault
//! of the file that names it.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::places::{MOST_CLASSES, class_name};
use super::problem::{Mark, Problem, one_line};
use super::settings::Settings;
use super::table::nearest;
use super::text;
use super::units::ScoreText;
use crate::domain::config::{ConfirmConfig, Model};
use crate::domain::found::{Output, OutputFormat, names};
use crate::media::confirm::examine;

const ENABLED: &str = "detect.confirm.enabled";
const MODEL: &str = "detect.confirm.model";
const FORMAT: &str = "detect.confirm.format";
const CLASSES: &str = "detect.confirm.classes";
const THRESHOLD: &str = "detect.confirm.threshold";
const ONLY: &str = "detect.confirm.only";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawConfirm {
    enabled: Option<bool>,
    model: Option<PathBuf>,
    format: String,
    classes: Option<Classes>,
    threshold: ScoreText,
    only: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Classes {
    List(Vec<String>),
    File(PathBuf),
}

/// What is done about the models that cameras name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Models {
    /// They are left alone, but for whether they are there: by whoever looks at no event.
    #[default]
    Leave,
    /// They are tried, but nobody waits: what is wrong with one is told by a later look.
    TryMeanwhile,
    /// They are tried first.
    Try,
}

/// None: nothing looks, or there are new faults.
pub(super) fn build(
    raw: RawConfirm,
    settings: &Settings,
    file: &Mark,
    folder: &Path,
    models: Models,
    problems: &mut Vec<Problem>,
) -> Option<ConfirmConfig> {
    let is_given = |key: &&str| settings.get(key).is_some_and(|setting| !setting.value.is_null());
    let is_wanted = || [MODEL, FORMAT, CLASSES, THRESHOLD, ONLY].iter().any(is_given);
    if !raw.enabled.unwrap_or_else(is_wanted) {
        return None;
    }
    // What was refused already is not tried.
    if [ENABLED, MODEL, FORMAT, CLASSES, THRESHOLD, ONLY].iter().any(|key| settings.is_faulty(key)) {
        return None;
    }
    let at = |key: &str| settings.get(key).map_or(file, |setting| &setting.at);
    let mut refuse = |key: &str, what: String, hint: &str| {
        problems.push(at(key).problem(format!("`{key}`: {what}"), hint.to_owned()));
        None
    };
    let only = raw.only.unwrap_or_default();
    let (model, known) = match raw.model.filter(|model| model != Path::new(Model::HOG)) {
        None => {
            if is_given(&CLASSES) {
                let hint = "name the `model` that these are of, or remove them";
                return refuse(CLASSES, "`hog` knows people only".to_owned(), hint);
            }
            (Model::Hog, vec![Model::PERSON.to_owned()])
        }
        Some(model) => {
            let path = folder.join(&model);
            let told = one_line(&model.display().to_string());
            let classes = match raw.classes {
                None => Vec::new(),
                Some(Classes::List(names)) => names,
                Some(Classes::File(list)) => match read_classes(&folder.join(&list)) {
                    Ok(names) => names,
                    Err(what) => {
                        let told = one_line(&list.display().to_string());
                        return refuse(CLASSES, format!("{told} {what}"), "it holds a name a line");
                    }
                },
            };
            let format =
                OutputFormat::NAMES.into_iter().find(|(name, _)| *name == raw.format).map(|(_, format)| format);
            let examined = match models {
                Models::Leave => None,
                Models::TryMeanwhile => examine(&path, false),
                Models::Try => examine(&path, true),
            };
            let known = match examined {
                None => classes.clone(),
                Some(Err(what)) => {
                    return refuse(MODEL, format!("{told} {what}"), "give an ONNX file that OpenCV reads, or `hog`");
                }
                Some(Ok(examined)) => {
                    let output = match Output::of(&examined.shape, format) {
                        Ok(output) => output,
                        Err(what) => {
                            let key = if format.is_some() { FORMAT } else { MODEL };
                            let hint = "there are yolov5, yolov8 (v9, 11) and yolov10";
                            return refuse(key, format!("{told}: {what}"), hint);
                        }
                    };
                    match names(&output, &classes, examined.names.as_deref()) {
                        Ok(names) => names,
                        Err(what) => {
                            let key = if classes.is_empty() { MODEL } else { CLASSES };
                            let hint = "name all that it knows, by its numbers, in `detect.confirm.classes`";
                            return refuse(key, format!("{told} {what}"), hint);
                        }
                    }
                }
            };
            (Model::Onnx { path, format, classes }, known)
        }
    };
    // Nobody knows yet what a model knows that is still being tried.
    let unknown = |name: &&String| !known.is_empty() && !known.contains(name);
    if let Some(name) = only.iter().find(unknown) {
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        let hint = match nearest(name, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("it knows {}", short_list(&known)),
        };
        return refuse(ONLY, format!("the model knows no `{}`", one_line(name)), &hint);
    }
    Some(ConfirmConfig { model, threshold: raw.threshold.0, only })
}

fn short_list(names: &[&str]) -> String {
    const TOLD: usize = 8;
    let told = one_line(&names.iter().copied().take(TOLD).collect::<Vec<_>>().join(", "));
    if names.len() > TOLD { format!("{told} and {} more", names.len() - TOLD) } else { told }
}

/// The lines of a file.
fn read_classes(path: &Path) -> Result<Vec<String>, String> {
    let content = match text::read(path) {
        Ok(Some(content)) => content,
        Ok(None) => return Err("is not there".to_owned()),
        Err(problem) => return Err(format!("is no list of names: {}", problem.what)),
    };
    let lines: Vec<&str> = content.trim_end().lines().collect();
    if lines.is_empty() || lines.len() > MOST_CLASSES {
        return Err(format!("has {} lines, and not 1 to {MOST_CLASSES}", lines.len()));
    }
    let name = |(n, line): (usize, &&str)| {
        class_name(line).map(str::to_owned).map_err(|what| format!("is no list of names: line {}: {what}", n + 1))
    };
    lines.iter().enumerate().map(name).collect()
}
