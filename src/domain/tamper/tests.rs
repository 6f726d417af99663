//! One scene a cause, and one for each thing that is none, drawn here: a street of boxes, noise, and what happens to it.

use proptest::prelude::*;

use super::*;

const WIDTH: usize = 160;
const HEIGHT: usize = 96;
/// When it happens.
const AT: f64 = 20.0;

type Picture = Vec<f32>;

/// A street: boxes of all sizes and levels, by `seed`.
fn street(seed: u64) -> Picture {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut picture = vec![110.0; WIDTH * HEIGHT];
    for n in 0..90 {
        let (wide, high) = if n < 20 { (60, 40) } else { (18, 14) };
        let (x, y) = (random.usize(0..WIDTH), random.usize(0..HEIGHT));
        let (wide, high) = (random.usize(3..wide), random.usize(3..high));
        let level = random.f32() * 160.0 + 40.0;
        fill(&mut picture, (x, y), (wide, high), level);
    }
    picture
}

fn fill(picture: &mut Picture, (left, top): (usize, usize), (wide, high): (usize, usize), level: f32) {
    for y in top..(top + high).min(HEIGHT) {
        let row = &mut picture[y * WIDTH..][..WIDTH];
        row[left.min(WIDTH)..(left + wide).min(WIDTH)].fill(level);
    }
}

fn each(picture: &mut Picture, change: impl Fn(f32, f32, f32) -> f32) {
    for (n, level) in picture.iter_mut().enumerate() {
        *level = change((n % WIDTH) as f32, (n / WIDTH) as f32, *level);
    }
}

/// Means of squares of `2 * reach + 1` pixels.
fn blur(picture: &Picture, reach: i32) -> Picture {
    let at = |x: i32, y: i32| {
        picture[(y.clamp(0, HEIGHT as i32 - 1) as usize) * WIDTH + x.clamp(0, WIDTH as i32 - 1) as usize]
    };
    let count = ((2 * reach + 1) * (2 * reach + 1)) as f32;
    let mean = |n: usize| {
        let (x, y) = ((n % WIDTH) as i32, (n / WIDTH) as i32);
        let sum: f32 = (-reach..=reach)
            .flat_map(|dy| (-reach..=reach).map(move |dx| (dx, dy)))
            .map(|(dx, dy)| at(x + dx, y + dy))
            .sum();
        sum / count
    };
    (0..picture.len()).map(mean).collect()
}

/// Moved to the left; what comes in is of another street.
fn moved(picture: &Picture, by: usize) -> Picture {
    let other = street(77);
    let level = |n: usize| {
        let (x, y) = (n % WIDTH, n / WIDTH);
        if x + by < WIDTH { picture[y * WIDTH + x + by] } else { other[n] }
    };
    (0..picture.len()).map(level).collect()
}

/// What a camera makes of a scene, looked at four times a second.
struct Watched {
    tamper: Tamper,
    random: fastrand::Rng,
    /// Close to Gaussian, and more than a picture of it.
    grain: Vec<f32>,
    noise: f32,
}

impl Watched {
    fn new(noise: f32) -> Self {
        let mut random = fastrand::Rng::with_seed(7);
        let mut grain = || 1.7 * (random.f32() + random.f32() + random.f32() + random.f32() - 2.0);
        let grain = (0..3 * WIDTH * HEIGHT).map(|_| grain()).collect();
        Watched { tamper: Tamper::default(), random, grain, noise }
    }

    fn look(&mut self, at: f64, picture: &Picture) -> Option<TamperChange> {
        let grain = &self.grain[self.random.usize(0..2 * WIDTH * HEIGHT)..];
        let bytes: Vec<u8> = (picture.iter().zip(grain))
            .map(|(level, grain)| (level + self.noise * grain).round().clamp(0.0, 255.0) as u8)
            .collect();
        self.tamper.look(&bytes, WIDTH, HEIGHT, (at * 1e6) as i64)
    }

    /// All changes of so many seconds.
    fn run(&mut self, seconds: f64, mut draw: impl FnMut(f64, &mut Picture)) -> Vec<(f64, TamperChange)> {
        let scene = street(1);
        let mut changes = Vec::new();
        for n in 0..(seconds * 4.0) as usize {
            let at = n as f64 / 4.0;
            let mut picture = scene.clone();
            draw(at, &mut picture);
            changes.extend(self.look(at, &picture).map(|change| (at, change)));
        }
        changes
    }
}

fn run(seconds: f64, draw: impl FnMut(f64, &mut Picture)) -> Vec<(f64, TamperChange)> {
    Watched::new(2.0).run(seconds, draw)
}

/// It happens at [`AT`] for 15 s, and is told within 10 s, and told to be over within 6 s.
#[track_caller]
fn assert_told(expected: Tampering, change: impl Fn(&mut Picture)) {
    let mut changed = street(1);
    change(&mut changed);
    let changes = run(AT + 25.0, |at, picture| {
        if (AT..AT + 15.0).contains(&at) {
            picture.clone_from(&changed);
        }
    });
    let [(told, TamperChange::Began { cause, since_us }), (over, TamperChange::Over { .. })] = changes[..] else {
        panic!("{changes:?}")
    };
    assert_eq!(cause, expected);
    let since = since_us as f64 / 1e6;
    assert!((AT..AT + 3.5).contains(&since) && told < AT + 10.0, "since {since}, told at {told}");
    assert!((AT + 15.0..AT + 21.0).contains(&over), "over at {over}");
}

#[track_caller]
fn assert_nothing(seconds: f64, draw: impl FnMut(f64, &mut Picture)) {
    assert_eq!(run(seconds, draw), []);
}

#[test]
fn a_cloth_over_the_lens_is_told() {
    assert_told(Tampering::Covered, |picture| each(picture, |x, y, _| 70.0 + x / 8.0 + y / 20.0));
}

#[test]
fn paint_on_the_lens_is_told() {
    // Thick in the middle, with a rim through which the street is seen.
    assert_told(Tampering::Covered, |picture| {
        let soft = blur(picture, 1);
        for (n, level) in picture.iter_mut().enumerate() {
            let (x, y) = ((n % WIDTH) as f32 - 80.0, (n / WIDTH) as f32 - 48.0);
            let paint = (1.6 - (x / 90.0).hypot(y / 54.0)).clamp(0.0, 0.99);
            *level = soft[n] * (1.0 - paint) + 205.0 * paint;
        }
    });
}

#[test]
fn a_lens_out_of_focus_is_told() {
    for reach in [3, 5] {
        assert_told(Tampering::Defocused, |picture| *picture = blur(picture, reach));
    }
}

#[test]
fn a_camera_that_was_turned_is_told() {
    assert_told(Tampering::Moved, |picture| *picture = moved(picture, 12));
    assert_told(Tampering::Moved, |picture| *picture = street(5));
}

#[test]
fn a_black_picture_is_told() {
    assert_told(Tampering::Black, |picture| picture.fill(16.0));
}

#[test]
fn a_frozen_picture_is_told() {
    let mut watched = Watched::new(2.0);
    let (mut kept, mut changes) = (None, Vec::new());
    for n in 0..180 {
        let at = f64::from(n) / 4.0;
        let frozen = (AT..AT + 15.0).contains(&at);
        watched.noise = if frozen { 0.0 } else { 2.0 };
        let picture = if frozen { kept.clone().unwrap_or_else(|| street(1)) } else { street(1) };
        kept = Some(picture.clone());
        changes.extend(watched.look(at, &picture).map(|change| (at, change)));
    }
    let [(told, TamperChange::Began { cause: Tampering::Frozen, .. }), (over, TamperChange::Over { .. })] = changes[..]
    else {
        panic!("{changes:?}")
    };
    assert!(told < AT + 10.0 && over < AT + 21.0, "{told}, {over}");
}

#[test]
fn a_card_that_says_no_signal_is_told() {
    let mut watched = Watched::new(2.0);
    let mut changes = Vec::new();
    for n in 0..180 {
        let at = f64::from(n) / 4.0;
        let card = (AT..AT + 15.0).contains(&at);
        watched.noise = if card { 0.0 } else { 2.0 };
        let mut picture = street(1);
        if card {
            picture.fill(41.0);
            (0..9).for_each(|letter| fill(&mut picture, (40 + letter * 9, 42), (5, 11), 235.0));
        }
        changes.extend(watched.look(at, &picture).map(|change| (at, change)));
    }
    let [(told, TamperChange::Began { cause: Tampering::Overlay, .. }), (_, TamperChange::Over { .. })] = changes[..]
    else {
        panic!("{changes:?}")
    };
    assert!(told < AT + 10.0, "{told}");
}

#[test]
fn who_walks_and_what_parks_is_none() {
    assert_nothing(60.0, |at, picture| {
        let left = ((at as usize * 10) % 220).saturating_sub(30);
        fill(picture, (left, 40), (10, 30), 30.0);
        if at > 25.0 {
            fill(picture, (90, 50), (50, 30), 200.0);
        }
    });
}

#[test]
fn a_lorry_that_fills_the_picture_for_five_seconds_is_none() {
    assert_nothing(45.0, |at, picture| {
        if (AT..AT + 5.0).contains(&at) {
            *picture = street(9);
            fill(picture, (10, 10), (140, 70), 180.0);
        }
    });
}

#[test]
fn dusk_is_none() {
    let mut watched = Watched::new(2.0);
    let mut changes = Vec::new();
    for n in 0..1200 {
        let at = f64::from(n) / 4.0;
        let mut picture = street(1);
        let light = (1.0 - at as f32 / 325.0).powi(2).max(0.0);
        each(&mut picture, |_, _, level| 16.0 + (level - 16.0) * light);
        watched.noise = 2.0 + at as f32 / 100.0;
        changes.extend(watched.look(at, &picture));
    }
    assert_eq!(changes, []);
}

#[test]
fn the_switch_to_infrared_and_back_is_none() {
    let mut watched = Watched::new(2.0);
    let mut changes = Vec::new();
    for n in 0..360 {
        let at = f64::from(n) / 4.0;
        let mut picture = street(1);
        let night = (30.0..60.0).contains(&at);
        watched.noise = if night { 5.0 } else { 2.0 };
        if night {
            each(&mut picture, |x, y, level| {
                // Darker towards the corners; some things are bright that were dark, and the other way round.
                let lit = 1.0 - 0.6 * ((x - 80.0) / 80.0).hypot((y - 48.0) / 48.0).min(1.4) / 1.4;
                let level = if (x as usize / 40 + y as usize / 32) % 3 == 0 { 200.0 - 0.7 * level } else { level };
                16.0 + (level - 16.0).max(0.0) * 0.5 * lit
            });
            if at < 30.8 {
                picture.fill(20.0);
            }
        }
        changes.extend(watched.look(at, &picture));
    }
    assert_eq!(changes, []);
}

#[test]
fn headlights_that_point_at_the_camera_are_none() {
    assert_nothing(60.0, |at, picture| {
        if (AT..AT + 12.0).contains(&at) {
            // The exposure follows the glare.
            each(picture, |x, y, level| {
                let far = (x - 90.0).hypot(y - 60.0);
                level * 0.45 + 400.0 * (-far / 14.0).exp()
            });
        }
    });
}

#[test]
fn a_light_that_is_switched_is_none() {
    assert_nothing(70.0, |at, picture| {
        if (AT..AT + 25.0).contains(&at) {
            each(picture, |x, _, level| 18.0 + (level - 16.0) * (0.25 + x / 800.0));
        }
    });
}

#[test]
fn rain_is_none() {
    let mut random = fastrand::Rng::with_seed(3);
    assert_nothing(60.0, |at, picture| {
        if at > AT {
            for _ in 0..60 {
                fill(picture, (random.usize(0..WIDTH), random.usize(0..HEIGHT)), (1, 12), 210.0);
            }
        }
    });
}

#[test]
fn a_camera_that_shakes_is_none() {
    assert_nothing(60.0, |at, picture| {
        if at > AT {
            *picture = moved(picture, (1.5 + 1.5 * (at * 9.0).sin()).round() as usize);
        }
    });
}

#[test]
fn a_drawn_or_a_heavily_compressed_still_scene_is_not_frozen() {
    assert_eq!(Watched::new(0.0).run(60.0, |_, _| ()), []);
    // Trees in the wind to the right, and all else left as it was by the coder; then there is no more wind.
    let mut random = fastrand::Rng::with_seed(3);
    let changes = Watched::new(0.0).run(60.0, |at, picture| {
        if at < 30.0 {
            (0..200).for_each(|_| fill(picture, (random.usize(100..WIDTH), random.usize(0..HEIGHT)), (2, 2), 90.0));
        }
    });
    assert_eq!(changes, []);
}

#[test]
fn a_bare_wall_in_the_dark_says_nothing() {
    let changes = Watched::new(4.0).run(60.0, |at, picture| {
        picture.fill(if at < AT { 30.0 } else { 24.0 });
    });
    assert_eq!(changes, []);
}

#[test]
fn what_is_told_outlasts_a_new_session() {
    let mut watched = Watched::new(2.0);
    let scene = street(1);
    let mut changes = Vec::new();
    for n in 0..240 {
        let at = f64::from(n) / 4.0;
        if n == 140 {
            watched.tamper.new_session();
        }
        let covered = (20.0..50.0).contains(&at);
        let picture = if covered { vec![80.0; WIDTH * HEIGHT] } else { scene.clone() };
        // The new session's times begin anew.
        let pts = if n < 140 { at } else { at - 35.0 };
        changes.extend(watched.look(pts, &picture).map(|change| (at, change)));
    }
    let [(_, TamperChange::Began { .. }), (over, TamperChange::Over { .. })] = changes[..] else {
        panic!("{changes:?}")
    };
    assert!(over > 50.0);
}

#[test]
fn a_new_view_that_stays_becomes_the_usual_one() {
    let mut watched = Watched::new(2.0);
    let mut changes = Vec::new();
    let (before, after) = (street(1), street(5));
    for n in 0..560 {
        let at = 4.0 * f64::from(n);
        changes.extend(watched.look(at, if n < 15 { &before } else { &after }).map(|change| (at, change)));
    }
    let [(_, TamperChange::Began { cause: Tampering::Moved, .. }), (over, TamperChange::Over { .. })] = changes[..]
    else {
        panic!("{changes:?}")
    };
    assert!((1800.0..2000.0).contains(&over), "{over}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..Default::default() })]

    /// Whatever comes, and at whatever times, the same gives the same.
    #[test]
    fn the_same_pictures_give_the_same_changes(
        seed in any::<u64>(), width in 1usize..70, height in 1usize..70,
        steps in prop::collection::vec((any::<i64>(), 0u8..4), 1..40),
    ) {
        let mut random = fastrand::Rng::with_seed(seed);
        let (mut one, mut two) = (Tamper::default(), Tamper::default());
        for (pts_us, kind) in steps {
            if kind == 0 {
                one.new_session();
                two.new_session();
            }
            let picture: Vec<u8> = (0..width * height).map(|n| if kind == 1 { n as u8 } else { random.u8(..) }).collect();
            prop_assert_eq!(one.look(&picture, width, height, pts_us), two.look(&picture, width, height, pts_us));
        }
    }
}
