//! Which values are tried: today's, changed ones, sweeps, and the grid that proposals come from.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::{self, Loaded};
use crate::domain::config::{Algorithm, Area, DetectConfig};
use crate::domain::judge::Figures;
use crate::domain::zone::{Polygon, Zone};

/// More combinations are a mistake.
const MOST: usize = 200;

/// Where the values come from that nothing changes.
pub struct Base<'a> {
    /// A camera of the configuration; None: the defaults.
    pub camera: Option<&'a str>,
    pub loaded: &'a Loaded,
}

/// Values that are tried.
pub struct Variant {
    pub kind: Kind,
    /// What is changed, as a person would write it; empty: nothing.
    pub name: String,
    pub config: DetectConfig,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Today,
    /// By `--set`.
    Changed,
    Swept,
    Proposed,
}

impl Base<'_> {
    fn config(&self, sets: &[String]) -> Result<DetectConfig, Vec<String>> {
        let told = |problems: Vec<config::Problem>| problems.iter().map(ToString::to_string).collect::<Vec<_>>();
        for set in sets {
            let key = set.split('=').next().unwrap_or_default().trim();
            if !key.is_empty() && set.contains('=') && !key.starts_with("detect.") {
                return Err(vec![format!("--set: `{key}` changes nothing that is found (keys of `detect` do)")]);
            }
        }
        let camera = match self.camera {
            None => config::camera_from_source("backtest", sets, self.loaded),
            Some(name) => {
                let file = self.file_of(name)?;
                config::camera_from_file(&file, None, sets, self.loaded)
            }
        };
        let mut detect = camera.map_err(told)?.detect;
        if self.camera.is_some() {
            // The camera had settled long before it was recorded.
            detect.warm_up = Duration::ZERO;
        }
        Ok(detect)
    }

    fn file_of(&self, name: &str) -> Result<PathBuf, Vec<String>> {
        if !config::is_camera_name(name) {
            return Err(vec![format!("{name:?} is no camera's name (small letters, digits, `-` and `_`)")]);
        }
        let folder = &self.loaded.global.cameras_dir;
        let mut files = ["yaml", "yml"].into_iter().map(|extension| folder.join(format!("{name}.{extension}")));
        files.find(|file| file.exists()).ok_or_else(|| {
            vec![format!("there is no camera {name} in {} (see `tarsier check --effective`)", folder.display())]
        })
    }
}

/// All variants, today's first.
pub fn all(base: &Base, sets: &[String], sweeps: &[String], suggest: bool) -> Result<Vec<Variant>, Vec<String>> {
    let today = base.config(&[])?;
    let mut variants = vec![Variant { kind: Kind::Today, name: String::new(), config: today.clone() }];
    if !sets.is_empty() {
        variants.push(Variant { kind: Kind::Changed, name: sets.join(" "), config: base.config(sets)? });
    }
    let combinations = combinations(sweeps)?;
    for combination in combinations.iter().filter(|combination| !combination.is_empty()) {
        let config = base.config(&[sets, combination].concat())?;
        variants.push(Variant { kind: Kind::Swept, name: combination.join(" "), config });
    }
    if suggest {
        let from = variants[usize::from(!sets.is_empty())].config.clone();
        let proposals = grid(&from).into_iter();
        variants.extend(proposals.map(|(name, config)| Variant { kind: Kind::Proposed, name, config }));
    }
    Ok(variants)
}

/// All combinations of the values of several sweeps, as `KEY=VALUE`.
fn combinations(sweeps: &[String]) -> Result<Vec<Vec<String>>, Vec<String>> {
    let mut all: Vec<Vec<String>> = vec![Vec::new()];
    for sweep in sweeps {
        let hint = "write for example `--sweep detect.threshold=8,12,16`";
        let Some((key, values)) = sweep.split_once('=') else {
            return Err(vec![format!("--sweep: `{sweep}` has no `=` ({hint})")]);
        };
        let values = split(values);
        if values.iter().any(|value| value.is_empty()) {
            return Err(vec![format!("--sweep: `{sweep}` has an empty value ({hint})")]);
        }
        all = all
            .iter()
            .flat_map(|before| values.iter().map(|value| [&before[..], &[format!("{}={value}", key.trim())]].concat()))
            .collect();
        if all.len() > MOST {
            return Err(vec![format!("--sweep: that is more than {MOST} combinations (try fewer values)")]);
        }
    }
    Ok(all)
}

/// At commas outside of brackets: lists are values, too.
fn split(values: &str) -> Vec<&str> {
    let (mut depth, mut from, mut found) = (0i32, 0, Vec::new());
    for (at, c) in values.char_indices() {
        match c {
            '[' | '{' => depth += 1,
            ']' | '}' => depth -= 1,
            ',' if depth == 0 => {
                found.push(values[from..at].trim());
                from = at + 1;
            }
            _ => {}
        }
    }
    found.push(values[from..].trim());
    found
}

/// A modest grid of what matters most, around these values.
fn grid(from: &DetectConfig) -> Vec<(String, DetectConfig)> {
    match from.algorithm {
        Algorithm::Adaptive => adaptive_grid(from),
        Algorithm::Seed => seed_grid(from),
    }
}

/// How different, and how large a thing has to be: in all zones, or in one that is all of the picture.
fn adaptive_grid(from: &DetectConfig) -> Vec<(String, DetectConfig)> {
    let corners = vec![(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)];
    let (name, dwell) = ("picture".to_owned(), Duration::ZERO);
    let whole = Polygon::new(corners).map(|polygon| Zone {
        name,
        polygon,
        min_area: 0.0,
        max_area: 1.0,
        sensitivity: 50,
        dwell,
    });
    let zones = if from.zones.is_empty() { whole.into_iter().collect() } else { from.zones.clone() };
    let mut variants = Vec::new();
    for sensitivity in [30, 50, 65, 80] {
        for percent in [0.0, 0.1, 0.3, 1.0] {
            let changed = |zone: &Zone| {
                let min_area = (percent / 100.0_f32).min(zone.max_area);
                Zone { sensitivity, min_area, ..zone.clone() }
            };
            let config = DetectConfig { zones: zones.iter().map(changed).collect(), ..from.clone() };
            variants.push((format!("sensitivity={sensitivity} min_area={percent}%"), config));
        }
    }
    variants
}

fn seed_grid(from: &DetectConfig) -> Vec<(String, DetectConfig)> {
    let mut variants = Vec::new();
    for threshold in [6, 10, 15, 22] {
        for percent in [0.3, 0.6, 1.067, 2.0] {
            let config = DetectConfig { threshold, min_area: Area::Share(percent / 100.0), ..from.clone() };
            variants.push((format!("detect.threshold={threshold} detect.min_area={percent}%"), config));
        }
    }
    variants
}

/// Which of the figures are best: most events found, then fewest false alarms, then most of the events' time. Of those
/// that are as good the first.
pub fn best(figures: &[Figures]) -> Option<usize> {
    let key = |figures: &Figures| {
        let coverage = (100.0 * figures.event_flagged_s / figures.event_s.max(0.02)).round() as i64;
        (figures.hit, std::cmp::Reverse(figures.wrong), coverage)
    };
    // Of equals `max_by_key` takes the last.
    figures.iter().enumerate().rev().max_by_key(|(_, figures)| key(figures)).map(|(n, _)| n)
}

/// A proposal as lines for the camera's file.
pub fn as_yaml(config: &DetectConfig) -> String {
    if config.algorithm == Algorithm::Seed {
        let min_area = match config.min_area {
            Area::Share(share) => format!("{}%", round(share * 100.0)),
            Area::Pixels(pixels) => pixels.to_string(),
        };
        return format!("detect:\n  threshold: {}\n  min_area: {min_area}\n", config.threshold);
    }
    let mut text = "detect:\n  zones:\n".to_owned();
    for zone in &config.zones {
        let corners: Vec<String> = zone.polygon.corners().iter().map(|(x, y)| format!("[{x}, {y}]")).collect();
        text += &format!("    - name: {}\n      polygon: [{}]\n", zone.name, corners.join(", "));
        text += &format!("      min_area: {}%\n", round(f64::from(zone.min_area) * 100.0));
        if zone.max_area < 1.0 {
            text += &format!("      max_area: {}%\n", round(f64::from(zone.max_area) * 100.0));
        }
        text += &format!("      sensitivity: {}\n", zone.sensitivity);
        if !zone.dwell.is_zero() {
            text += &format!("      dwell: {}ms\n", zone.dwell.as_millis());
        }
    }
    text
}

/// As a person writes it: a share was kept as a float of few digits.
fn round(percent: f64) -> f64 {
    (percent * 1e4).round() / 1e4
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sweeps_are_combined_and_lists_are_values() {
        let sweeps = ["detect.fps=5,10".to_owned(), "detect.masks=[],[[[0, 0], [1, 0], [1, 1]]]".to_owned()];
        let all = combinations(&sweeps).unwrap();
        let expected = [
            ["detect.fps=5", "detect.masks=[]"],
            ["detect.fps=5", "detect.masks=[[[0, 0], [1, 0], [1, 1]]]"],
            ["detect.fps=10", "detect.masks=[]"],
            ["detect.fps=10", "detect.masks=[[[0, 0], [1, 0], [1, 1]]]"],
        ];
        assert_eq!(all, expected);
        assert_eq!(combinations(&[]).unwrap(), [Vec::<String>::new()]);
        let many: Vec<String> = (1..300).map(|n| n.to_string()).collect();
        for wrong in ["detect.fps", "detect.fps=", "detect.fps=1,,2", &format!("detect.fps={}", many.join(","))] {
            assert!(combinations(&[wrong.to_owned()]).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_best_misses_least_then_is_wrong_least() {
        let figures =
            |hit, wrong, event_flagged_s| Figures { hit, wrong, event_flagged_s, event_s: 10.0, ..Figures::default() };
        let all = [figures(3, 0, 9.0), figures(4, 5, 9.0), figures(4, 2, 5.0), figures(4, 2, 8.0), figures(4, 2, 8.0)];
        assert_eq!(best(&all), Some(3));
        assert_eq!(best(&[]), None);
    }

    #[test]
    fn a_proposal_can_be_put_into_a_cameras_file() {
        let folder = tempfile::tempdir().unwrap();
        let loaded = config::load_global(&folder.path().join("tarsier.yaml")).unwrap();
        for algorithm in ["adaptive", "seed"] {
            let set = [format!("detect.algorithm={algorithm}")];
            let from = config::camera_from_source("x", &set, &loaded).unwrap().detect;
            for (name, config) in grid(&from) {
                let file = folder.path().join("yard.yaml");
                let yaml = as_yaml(&config).replacen("detect:\n", &format!("detect:\n  algorithm: {algorithm}\n"), 1);
                std::fs::write(&file, format!("source: rtsp://192.0.2.10/live\n{yaml}")).unwrap();
                let read = config::camera_from_file(&file, None, &[], &loaded);
                assert_eq!(read.map(|camera| camera.detect), Ok(config), "{name}:\n{yaml}");
            }
        }
    }
}
