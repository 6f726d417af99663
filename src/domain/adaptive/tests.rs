//! One scene a cause, drawn here: a patterned wall, noise, and what happens before it.

use std::time::Duration;

use proptest::prelude::*;

use super::*;

const WIDTH: usize = 160;
const HEIGHT: usize = 96;
const FPS: u32 = 10;

/// A picture that is drawn on.
struct Picture {
    grey: Vec<f32>,
}

impl Picture {
    fn wall() -> Self {
        let grey = |n: usize| {
            let (x, y) = ((n % WIDTH) as f32, (n / WIDTH) as f32);
            let tiles = if ((x / 20.0) as u32 + (y / 16.0) as u32).is_multiple_of(2) { 18.0 } else { 0.0 };
            110.0 + tiles + 12.0 * (x / 9.0).sin() + 9.0 * (y / 7.0).cos()
        };
        Picture { grey: (0..WIDTH * HEIGHT).map(grey).collect() }
    }

    fn each(&mut self, change: impl Fn(f32, f32, f32) -> f32) {
        for (n, grey) in self.grey.iter_mut().enumerate() {
            *grey = change((n % WIDTH) as f32, (n / WIDTH) as f32, *grey);
        }
    }

    fn fill(&mut self, left: f32, top: f32, width: f32, height: f32, level: f32) {
        self.each(|x, y, grey| {
            let inside = x >= left && x < left + width && y >= top && y < top + height;
            if inside { level } else { grey }
        });
    }

    /// Somebody of 8 by 24 pixels with a head and a striped shirt.
    fn person(&mut self, left: f32) {
        self.fill(left + 2.0, 40.0, 4.0, 5.0, 190.0);
        self.fill(left, 45.0, 8.0, 9.0, 50.0);
        self.fill(left, 48.0, 8.0, 2.0, 150.0);
        self.fill(left + 1.0, 54.0, 6.0, 10.0, 30.0);
    }
}

/// What was found of `seconds` of a scene, picture by picture: (second, verdict).
fn watch(
    adaptive: &mut Adaptive,
    fps: f64,
    seconds: f64,
    noise: f32,
    mut draw: impl FnMut(f64, &mut Picture),
) -> Vec<(f64, Verdict)> {
    let mut random = fastrand::Rng::with_seed(7);
    let pictures = (seconds * fps) as usize;
    let mut found = Vec::new();
    for n in 0..pictures {
        let at = n as f64 / fps;
        let mut picture = Picture::wall();
        draw(at, &mut picture);
        // Close to Gaussian.
        let mut grain = || noise * 1.7 * (random.f32() + random.f32() + random.f32() + random.f32() - 2.0);
        let bytes: Vec<u8> = picture.grey.iter().map(|grey| (grey + grain()).round().clamp(0.0, 255.0) as u8).collect();
        found.push((at, adaptive.look(&bytes, WIDTH, HEIGHT, (at * 1e6) as i64).clone()));
    }
    found
}

fn settings() -> Settings {
    Settings { fps: FPS, on_scene_change: OnSceneChange::Ignore, masks: Vec::new(), zones: Vec::new() }
}

fn detector() -> Adaptive {
    Adaptive::new(settings())
}

fn look_at(seconds: f64, noise: f32, draw: impl FnMut(f64, &mut Picture)) -> Vec<(f64, Verdict)> {
    watch(&mut detector(), f64::from(FPS), seconds, noise, draw)
}

/// First and last second of motion.
fn motion(found: &[(f64, Verdict)]) -> Option<(f64, f64)> {
    let mut moving = found.iter().filter(|(_, verdict)| verdict.moving).map(|(at, _)| *at);
    let first = moving.next()?;
    Some((first, moving.next_back().unwrap_or(first)))
}

fn has(found: &[(f64, Verdict)], cause: Cause) -> bool {
    found.iter().any(|(_, verdict)| verdict.finding.cause == Some(cause))
}

#[track_caller]
fn assert_still(found: &[(f64, Verdict)]) {
    assert_eq!(motion(found), None);
}

#[track_caller]
fn assert_motion(found: &[(f64, Verdict)], from: f64, to: f64) {
    let (first, last) = motion(found).expect("motion");
    assert!(first >= from && first <= from + 0.8, "it began at {from}, and was found at {first}");
    assert!((last - to).abs() <= 1.5, "it ended at {to}, and was found until {last}");
    let quiet = found.iter().filter(|(at, verdict)| *at > first && *at < last && !verdict.moving).count();
    assert!(quiet <= found.len() / 10, "{quiet} looks between did not see it");
}

/// Left edge of somebody who comes in at 5 s, crosses the picture, and has left at 12 s.
fn crossing(at: f64) -> f32 {
    -8.0 + (at as f32 - 5.0) * 24.0
}

#[test]
fn who_walks_through_is_motion_and_where_is_said() {
    let found = look_at(16.0, 2.0, |at, picture| picture.person(crossing(at)));
    assert_motion(&found, 5.0, 12.0);
    let (_, verdict) = found.iter().find(|(at, _)| *at >= 8.5).unwrap();
    assert_eq!(verdict.finding.cause, Some(Cause::Motion));
    let region = verdict.finding.regions.first().expect("a region");
    let middle = (region.left + region.width / 2.0) * WIDTH as f32;
    assert!((middle - crossing(8.5) - 4.0).abs() < 6.0, "{region:?}");
    assert!(region.top * (HEIGHT as f32) < 46.0 && (region.top + region.height) * (HEIGHT as f32) > 58.0, "{region:?}");
}

#[test]
fn who_stands_still_is_still_there() {
    let found = look_at(20.0, 2.0, |at, picture| match at {
        at if at < 8.0 => picture.person(crossing(at)),
        at if at < 16.0 => picture.person(crossing(8.0)),
        at => picture.person(crossing(at - 8.0)),
    });
    let (first, last) = motion(&found).expect("motion");
    assert!(first < 5.8 && last > 18.5, "found from {first} to {last}");
    let during = found.iter().filter(|(at, _)| *at > 8.0 && *at < 16.0);
    assert!(during.clone().filter(|(_, verdict)| verdict.moving).count() * 10 > during.count() * 9);
}

#[test]
fn a_low_contrast_is_enough() {
    let found = look_at(16.0, 2.0, |at, picture| {
        let left = crossing(at);
        picture.each(|x, y, grey| {
            let inside = x >= left && x < left + 8.0 && (40.0..64.0).contains(&y);
            if inside { 128.0 + 0.3 * (grey - 110.0) } else { grey }
        });
    });
    assert_motion(&found, 5.0, 12.0);
}

#[test]
fn the_noise_of_a_night_is_learned_and_not_motion() {
    let night = |picture: &mut Picture| picture.each(|_, _, grey| grey * 0.25);
    assert_still(&look_at(12.0, 9.0, |_, picture| night(picture)));
    let found = look_at(16.0, 6.0, |at, picture| {
        night(picture);
        picture.fill(crossing(at), 40.0, 8.0, 24.0, 90.0);
    });
    assert_motion(&found, 5.0, 12.0);
}

#[test]
fn dusk_and_exposure_are_followed() {
    let dusk = |at: f64, picture: &mut Picture| picture.each(|_, _, grey| grey * (1.0 - 0.05 * at as f32));
    assert_still(&look_at(12.0, 2.0, dusk));
    let pumping =
        |at: f64, picture: &mut Picture| picture.each(|_, _, grey| grey * (1.0 + 0.12 * (at * 2.0).sin() as f32));
    assert_still(&look_at(12.0, 2.0, pumping));
    let found = look_at(16.0, 2.0, |at, picture| {
        picture.person(crossing(at));
        dusk(at, picture);
    });
    assert_motion(&found, 5.0, 12.0);
}

#[test]
fn a_switched_light_is_a_scene_change_and_kept_where_that_is_wanted() {
    let switch = |at: f64, picture: &mut Picture| {
        if at >= 6.0 {
            picture.each(|_, _, grey| grey * 0.3);
        }
    };
    let found = look_at(10.0, 2.0, switch);
    assert_still(&found);
    assert!(has(&found, Cause::SceneChange));
    let mut recording = Adaptive::new(Settings { on_scene_change: OnSceneChange::Record, ..settings() });
    let found = watch(&mut recording, f64::from(FPS), 10.0, 2.0, switch);
    let (first, last) = motion(&found).expect("it is kept");
    assert!((6.0..6.3).contains(&first) && last < 7.5, "kept from {first} to {last}");
}

#[test]
fn another_scene_is_learned_within_a_second() {
    let found = look_at(18.0, 2.0, |at, picture| {
        if at >= 5.0 {
            picture.each(|x, y, _| 90.0 + 60.0 * (x / 6.0).sin() * (y / 5.0).sin() + x / 2.0);
            picture.person(crossing(at - 3.0));
        }
    });
    assert!(has(&found, Cause::SceneChange));
    assert_motion(&found, 8.0, 15.0);
}

#[test]
fn the_soft_shade_of_a_cloud_is_light() {
    let found = look_at(14.0, 2.0, |at, picture| {
        picture.each(|x, y, grey| {
            let edge = |at: f64| 1.0 / (1.0 + (-(x + 0.4 * y - 26.0 * (at as f32 - 4.0)) / 14.0).exp());
            grey * (1.0 - 0.3 * (edge(at - 3.0) - edge(at)))
        });
    });
    assert_still(&found);
}

#[test]
fn a_shaking_camera_is_held_still() {
    let shake = |at: f64| ((at * 13.0).sin() as f32 * 1.6, (at * 17.0).cos() as f32 * 1.1);
    let shaken = |at: f64, picture: &mut Picture| {
        let still = Picture { grey: picture.grey.clone() };
        let (dx, dy) = shake(at);
        picture.each(|x, y, _| {
            let (x, y) = ((x + dx).clamp(0.0, WIDTH as f32 - 1.01), (y + dy).clamp(0.0, HEIGHT as f32 - 1.01));
            let (left, top) = (x as usize, y as usize);
            let at = |x: usize, y: usize| still.grey[y * WIDTH + x];
            let mix = |a: f32, b: f32, part: f32| a + (b - a) * part;
            let upper = mix(at(left, top), at(left + 1, top), x.fract());
            let lower = mix(at(left, top + 1), at(left + 1, top + 1), x.fract());
            mix(upper, lower, y.fract())
        });
    };
    assert_still(&look_at(12.0, 1.5, shaken));
    let found = look_at(16.0, 1.5, |at, picture| {
        picture.person(crossing(at));
        shaken(at, picture);
    });
    assert_motion(&found, 5.0, 12.0);
}

/// Whether a figure's cell is lit in a certain second; any pattern does.
fn figure(second: usize, n: usize) -> bool {
    (second * 7919 + n * 104_729) % 7 < 4
}

#[test]
fn a_clock_in_the_picture_is_not_motion() {
    let clock = |at: f64, picture: &mut Picture| {
        for n in 0..30 {
            let level = if figure(at as usize, n) { 245.0 } else { 20.0 };
            picture.fill(100.0 + 2.0 * (n % 10) as f32, 4.0 + 3.0 * (n / 10) as f32, 2.0, 3.0, level);
        }
    };
    assert_still(&look_at(20.0, 2.0, clock));
    let found = look_at(16.0, 2.0, |at, picture| {
        clock(at, picture);
        picture.person(crossing(at));
    });
    assert_motion(&found, 5.0, 12.0);
}

#[test]
fn a_banner_that_comes_and_goes_is_not_motion() {
    assert_still(&look_at(16.0, 2.0, |at, picture| {
        if (6.0..9.0).contains(&at) {
            picture.fill(20.0, 80.0, 110.0, 12.0, 20.0);
            (0..10).for_each(|n| picture.fill(24.0 + 10.0 * n as f32, 83.0, 6.0, 6.0, 235.0));
        }
    }));
}

/// Leaves that go to and fro in the left part of the picture.
fn leaves(at: f64, picture: &mut Picture) {
    let at = at as f32;
    picture.each(|x, y, grey| match (x, y) {
        (4.0..60.0, 8.0..70.0) => {
            let phase = x / 18.0 + y / 25.0;
            let (x, y) = (x + 3.0 * (3.1 * at + phase).sin() + (7.3 * at).sin(), y + 1.5 * (4.3 * at + phase).sin());
            110.0 + 55.0 * (x / 2.3).sin() * (y / 2.9).cos()
        }
        _ => grey,
    });
}

#[test]
fn swaying_leaves_raise_their_own_threshold() {
    assert_still(&look_at(20.0, 2.0, leaves));
    let found = look_at(16.0, 2.0, |at, picture| {
        leaves(at, picture);
        picture.fill(155.0 - 22.0 * (at as f32 - 5.0), 40.0, 10.0, 40.0, 15.0);
    });
    assert_motion(&found, 5.0, 12.5);
}

/// Flakes that fall, each on its own way.
fn snow(at: f64, picture: &mut Picture) {
    for n in 0..24u32 {
        let own = (n * 37 % 41) as f32;
        let fall = (at as f32 * (40.0 + own) + own * 23.0) % (HEIGHT as f32 + 8.0);
        let drift = own * 31.0 + 6.0 * (at as f32 + own).sin();
        let side = 1.0 + own % 2.0;
        picture.fill(drift % WIDTH as f32, fall - 4.0, side, side, 235.0);
    }
}

#[test]
fn snow_is_weather_and_who_walks_through_it_is_motion() {
    let found = look_at(14.0, 2.0, snow);
    assert_still(&found);
    assert!(has(&found, Cause::Weather));
    let found = look_at(16.0, 2.0, |at, picture| {
        picture.person(crossing(at));
        snow(at, picture);
    });
    let (first, last) = motion(&found).expect("somebody walks through");
    assert!((5.0..6.5).contains(&first) && (11.0..13.5).contains(&last), "found from {first} to {last}");
}

#[test]
fn a_flock_of_slow_flakes_is_weather_though_each_can_be_followed() {
    let found = look_at(14.0, 2.0, |at, picture| {
        for n in 0..24u32 {
            let fall = (at as f32 * 14.0 + n as f32 * 29.0) % (HEIGHT as f32 + 6.0);
            picture.fill(2.0 + 6.5 * n as f32, fall - 3.0, 2.0, 2.0, 235.0);
        }
    });
    assert_still(&found);
    assert!(has(&found, Cause::Weather));
}

#[test]
fn the_ghost_of_what_was_there_from_the_start_is_taken_into_the_background() {
    let found = look_at(20.0, 2.0, |at, picture| picture.person(60.0 + (at as f32 - 5.0).max(0.0) * 24.0));
    let (first, last) = motion(&found).expect("it went away");
    assert!((5.0..5.9).contains(&first) && last < 13.5, "found from {first} to {last}");
    assert!(has(&found, Cause::Ghost));
}

#[test]
fn what_is_suddenly_there_and_does_not_move_is_not_motion() {
    assert_still(&look_at(14.0, 2.0, |at, picture| {
        if at >= 5.0 {
            picture.fill(70.0, 50.0, 12.0, 12.0, 30.0);
        }
    }));
}

#[test]
fn the_pulse_of_a_coder_is_not_motion() {
    // Every four seconds all is sharp again, and blurs with each picture.
    assert_still(&look_at(20.0, 0.5, |at, picture| {
        let age = at % 4.0;
        let soft = Picture { grey: picture.grey.clone() };
        let reach = (age * 1.5).min(4.0) as usize;
        picture.each(|x, y, grey| {
            let left = (x as usize / 8) * 8;
            let from = left.saturating_sub(reach);
            let row = &soft.grey[y as usize * WIDTH..][from..(left + 8 + reach).min(WIDTH)];
            let mean = row.iter().sum::<f32>() / row.len() as f32;
            grey + (mean - grey) * (age as f32 / 4.0) * 0.7
        });
    }));
}

#[test]
fn time_is_seconds_and_not_pictures() {
    let mut spans = Vec::new();
    for fps in [5.0, 10.0, 12.5, 25.0] {
        let found = watch(&mut detector(), fps, 15.0, 2.0, |at, picture| picture.person(crossing(at)));
        spans.push(motion(&found).expect("motion"));
    }
    let near = |a: f64, b: f64| (a - b).abs() < 0.7;
    assert!(spans.iter().all(|span| near(span.0, spans[0].0) && near(span.1, spans[0].1)), "{spans:?}");
}

#[test]
fn pictures_between_two_looks_change_nothing() {
    let scene = |at: f64, picture: &mut Picture| picture.person(crossing(at));
    let found = look_at(9.0, 0.0, scene);
    let more = watch(&mut detector(), 60.0, 9.0, 0.0, scene);
    let at_looks: Vec<_> = more.iter().step_by(6).cloned().collect();
    for (few, many) in found.iter().zip(&at_looks) {
        assert_eq!(few.1, many.1, "at {}", few.0);
    }
}

#[test]
fn a_new_size_or_a_jump_in_time_begins_in_order() {
    let mut adaptive = detector();
    let look = |adaptive: &mut Adaptive, width: usize, height: usize, pts_us: i64| {
        adaptive.look(&vec![100; width * height], width, height, pts_us).moving
    };
    for (n, (width, height)) in
        [(64, 48), (64, 48), (80, 48), (8, 8), (16, 16), (16, 16), (0, 0)].into_iter().enumerate()
    {
        assert!(!look(&mut adaptive, width, height, n as i64 * 100_000));
    }
    for pts_us in [i64::MAX, i64::MIN, 0, 50_000, 100_000, i64::MAX, -5, 1 << 40] {
        assert!(!look(&mut adaptive, 33, 17, pts_us));
    }
    // Not as many bytes as the size says.
    assert!(!adaptive.look(&[1, 2, 3], 64, 48, 0).moving);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..Default::default() })]

    /// Whatever comes, the same pictures at the same times give the same verdicts, whoever else looks meanwhile.
    #[test]
    fn the_same_pictures_give_the_same_verdicts(
        seed in any::<u64>(), width in 16usize..48, height in 16usize..40,
        steps in prop::collection::vec((-3_000_000i64..3_000_000, 0u8..5), 1..30),
    ) {
        let mut random = fastrand::Rng::with_seed(seed);
        let (mut one, mut two, mut other) = (detector(), detector(), detector());
        let mut pts_us = 0;
        for (step_us, kind) in steps {
            pts_us += step_us;
            let picture: Vec<u8> = match kind {
                0 => vec![random.u8(..); width * height],
                1 => (0..width * height).map(|_| random.u8(..)).collect(),
                _ => (0..width * height).map(|n| (n % width * 4) as u8 ^ random.u8(0..16)).collect(),
            };
            let first = one.look(&picture, width, height, pts_us).clone();
            other.look(&picture, width, height, -pts_us);
            let second = two.look(&picture, width, height, pts_us).clone();
            prop_assert!(first.changed.is_finite() && (0.0..=1.0).contains(&first.changed));
            prop_assert_eq!(first, second);
        }
    }
}

/// A place that covers this part of the picture's width, from top to bottom.
fn strip(left: f32, right: f32) -> Polygon {
    Polygon::new(vec![(left, 0.0), (right, 0.0), (right, 1.0), (left, 1.0)]).expect("a place")
}

fn zone(name: &str, left: f32, right: f32) -> Zone {
    Zone {
        name: name.to_owned(),
        polygon: strip(left, right),
        min_area: 0.0,
        max_area: 1.0,
        sensitivity: 50,
        dwell: Duration::ZERO,
    }
}

fn walk_with(settings: Settings) -> Vec<(f64, Verdict)> {
    watch(&mut Adaptive::new(settings), f64::from(FPS), 16.0, 2.0, |at, picture| picture.person(crossing(at)))
}

/// When the middle of who crosses the picture is at this share of its width.
fn crosses(share: f32) -> f64 {
    5.0 + f64::from((share * WIDTH as f32 + 4.0) / 24.0)
}

#[test]
fn under_a_mask_nothing_moves_and_right_beside_it_does() {
    assert_still(&walk_with(Settings { masks: vec![strip(0.0, 0.3), strip(0.3, 1.0)], ..settings() }));
    let found = walk_with(Settings { masks: vec![strip(0.0, 0.6)], ..settings() });
    assert_motion(&found, crosses(0.6), 12.0);
    let regions = found.iter().flat_map(|(_, verdict)| &verdict.finding.regions);
    assert!(regions.clone().count() > 10 && regions.clone().all(|region| region.left >= 0.59));
    // What is masked is not counted, nor the mask itself.
    let flash = |at: f64, picture: &mut Picture| {
        if at >= 6.0 {
            picture.fill(0.0, 0.0, 60.0, 96.0, 250.0);
        }
    };
    let masks = vec![strip(0.0, 0.5)];
    let found = watch(&mut Adaptive::new(Settings { masks, ..settings() }), f64::from(FPS), 9.0, 2.0, flash);
    assert!(found.iter().all(|(_, verdict)| verdict.changed < 0.02));
}

#[test]
fn zones_are_said_where_one_stands_in_them() {
    let zones = vec![zone("drive", 0.0, 0.5), zone("gate", 0.5, 1.0), zone("middle", 0.4, 0.6)];
    let found = walk_with(Settings { zones, ..settings() });
    assert_motion(&found, 5.0, 12.0);
    let at = |share: f32| {
        let (_, verdict) = found.iter().find(|(at, _)| *at >= crosses(share)).expect("a look");
        [0, 1, 2].map(|n| verdict.finding.zones.contains(n))
    };
    assert_eq!(
        [0.3, 0.45, 0.55, 0.8].map(at),
        [[true, false, false], [true, false, true], [false, true, true], [false, true, false]]
    );
}

#[test]
fn a_zone_may_want_larger_or_smaller_things_or_that_they_stay() {
    let with = |zone: Zone| walk_with(Settings { zones: vec![zone], ..settings() });
    for refused in [Zone { min_area: 0.05, ..zone("all", 0.0, 1.0) }, Zone { max_area: 0.004, ..zone("all", 0.0, 1.0) }]
    {
        let found = with(refused);
        assert_still(&found);
        assert!(has(&found, Cause::Zone));
    }
    // Elsewhere the zone says nothing.
    assert_motion(&with(Zone { min_area: 0.05, ..zone("left", 0.0, 0.5) }), crosses(0.5), 12.0);
    let found = with(Zone { dwell: Duration::from_secs(3), ..zone("left", 0.0, 0.9) });
    let (first, last) = motion(&found).expect("motion");
    assert!((7.8..9.0).contains(&first) && last > 11.0, "from {first} to {last}");
}

#[test]
fn a_sensitive_zone_sees_what_elsewhere_is_too_faint() {
    let faint = |sensitivity: u32| {
        let zones = vec![Zone { sensitivity, ..zone("all", 0.0, 1.0) }];
        let mut adaptive = Adaptive::new(Settings { zones, ..settings() });
        watch(&mut adaptive, f64::from(FPS), 16.0, 2.0, |at, picture| {
            let left = crossing(at);
            picture.each(|x, y, grey| {
                let inside = x >= left && x < left + 12.0 && (30.0..64.0).contains(&y);
                if inside { grey - 9.0 * ((x - left) / 3.0).cos().signum() } else { grey }
            });
        })
    };
    let levels = [10, 50, 80].map(|level| motion(&faint(level)));
    assert!(levels[0].is_none() && levels[2].is_some(), "{levels:?}");
}

/// A detector that has seen the wall for so long that it knows it, and what it remembers of it, through its bytes.
fn remembered(noise: f32) -> Memory {
    let mut detector = detector();
    watch(&mut detector, f64::from(FPS), 7.0, noise, |_, _| {});
    let memory = detector.memory().expect("it knows the wall");
    let bytes = memory.to_bytes();
    assert_eq!(bytes.len(), 8 + 3 * WIDTH * HEIGHT);
    let again = Memory::from_bytes(&bytes).expect("they are its bytes");
    assert_eq!(again.to_bytes(), bytes);
    again
}

fn recalled(memory: &Memory, seconds: f64, draw: impl FnMut(f64, &mut Picture)) -> (bool, Vec<(f64, Verdict)>) {
    let mut detector = detector();
    detector.recall(memory.clone());
    let found = watch(&mut detector, f64::from(FPS), seconds, 2.0, draw);
    (detector.has_recalled(), found)
}

#[test]
fn who_moves_in_the_first_second_of_a_known_scene_is_seen() {
    let memory = remembered(2.0);
    // On their way already in the first picture.
    let walk = |at: f64, picture: &mut Picture| picture.person(40.0 + 24.0 * at as f32);
    let (has_recalled, found) = recalled(&memory, 2.0, walk);
    assert!(has_recalled);
    let (first, _) = motion(&found).expect("motion");
    assert!(first <= 1.0, "found at {first}");
    assert_eq!(motion(&look_at(2.0, 2.0, walk)), None, "of a scene that is not known nothing is said so early");
}

#[test]
fn a_known_scene_that_is_still_is_still_in_another_light_and_with_something_new_in_it_too() {
    let memory = remembered(2.0);
    let (has_recalled, found) = recalled(&memory, 3.0, |_, picture| picture.each(|_, _, grey| 1.08 * grey - 4.0));
    assert!(has_recalled);
    assert_still(&found);
    // Somebody came in between, and stands there.
    let (has_recalled, found) = recalled(&memory, 3.0, |_, picture| picture.person(60.0));
    assert!(has_recalled);
    assert_still(&found);
}

#[test]
fn another_scene_is_learned_as_a_new_one() {
    let memory = remembered(2.0);
    // Turned about; moved; with the light switched.
    let wall = Picture::wall();
    let turned = |_: f64, picture: &mut Picture| {
        picture.each(|x, y, _| wall.grey[(HEIGHT - 1 - y as usize) * WIDTH + (WIDTH / 2 + x as usize) % WIDTH]);
    };
    let moved = |_: f64, picture: &mut Picture| {
        picture.each(|x, y, _| wall.grey[y as usize * WIDTH + (x as usize + 4).min(WIDTH - 1)]);
    };
    let switched = |_: f64, picture: &mut Picture| picture.each(|_, _, grey| 0.5 * grey);
    for (name, draw) in [("turned", &turned as &dyn Fn(f64, &mut Picture)), ("moved", &moved), ("switched", &switched)]
    {
        let (has_recalled, found) = recalled(&memory, 4.0, draw);
        assert!(!has_recalled, "{name}");
        assert_still(&found);
    }
    let mut smaller = detector();
    smaller.recall(memory);
    smaller.look(&vec![90; 64 * 48], 64, 48, 0);
    assert!(!smaller.has_recalled());
}

#[test]
fn what_is_hardly_known_is_not_remembered_and_other_bytes_are_no_memory() {
    let mut detector = detector();
    watch(&mut detector, f64::from(FPS), 3.0, 2.0, |_, _| {});
    assert_eq!(detector.memory(), None);
    let bytes =
        Memory { width: 2, height: 1, background: vec![9.0; 2], deviation: vec![1.5; 2], noise: 1.0 }.to_bytes();
    assert!(Memory::from_bytes(&bytes).is_some());
    for wrong in [&bytes[1..], &bytes[..bytes.len() - 1], &[], &[255; 14], &[&bytes[..], &[0]].concat()] {
        assert_eq!(Memory::from_bytes(wrong), None, "{wrong:?}");
    }
}
