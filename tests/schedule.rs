//! A schedule switches the mode of recording on the minute, without touching the connection.

mod support;

use chrono::{DateTime, TimeDelta, Timelike, Utc};
use support::*;

/// The fail point that lets the daemon's clock stand at a quarter of a minute before noon in Berlin, on a Monday in summer.
fn just_before_noon() -> (String, DateTime<Utc>) {
    let noon: DateTime<Utc> = "2027-07-26T10:00:00Z".parse().unwrap();
    let offset = noon - TimeDelta::seconds(15) - tarsier::clock::utc_now();
    (format!("clock=return({})", offset.num_seconds()), noon)
}

fn camera(server: &RtspServer, record: &str) -> String {
    format!(
        "source: {}\ndetect: {{ enabled: false }}\nrecord: {{ {record}, timezone: Europe/Berlin }}\n",
        server.url("yard")
    )
}

#[test]
fn the_mode_changes_when_the_schedule_says_so() {
    let clip = Clip::spec().seconds(20.0).gop_seconds(1.0).make();
    let server = RtspServer::start(&[Mount::new("yard", &clip)]);

    let (clock, noon) = just_before_noon();
    let lines = "mode: off, schedule: \"mon 12:00-13:00 continuous; sun off\"";
    let mut daemon = Daemon::builder().camera("yard", &camera(&server, lines)).env("FAILPOINTS", &clock).start();
    daemon.wait_for_state("yard", "running", secs(10));
    assert!(daemon.recordings("yard").is_empty());
    assert_eq!(daemon.get_text("/readyz").0, 200, "it is not to record yet");
    let row = daemon.wait_for_recording("yard", secs(30), |_| true);
    // What the ring held goes along, and no more than that.
    assert!(row.start <= noon + TimeDelta::seconds(2) && row.start > noon - TimeDelta::seconds(16), "{row:?}");
    assert_eq!((row.reason.as_str(), server.stats("yard").connections), ("continuous", 1));
    assert_eq!(daemon.terminate(secs(5)), Some(0));

    let (clock, noon) = just_before_noon();
    let lines = "mode: continuous, pre_alarm: 1s, schedule: \"12:00-24:00 off\"";
    let mut daemon = Daemon::builder().camera("yard", &camera(&server, lines)).env("FAILPOINTS", &clock).start();
    let row = daemon.wait_for_recording("yard", secs(40), |row| row.complete);
    let end = row.end.unwrap();
    assert!((end - noon).abs() < TimeDelta::seconds(2), "{end} at {}", noon.second());
    assert!(row.start < noon - TimeDelta::seconds(5), "{row:?}");
    holds_for("nothing more is recorded, and that is well", secs(4), || {
        daemon.recordings("yard").len() == 1
            && daemon.camera("yard").unwrap()["state"] == "running"
            && daemon.get_text("/readyz").0 == 200
    });
    assert!(daemon.gaps("yard").is_empty());
    assert_eq!(daemon.terminate(secs(5)), Some(0));
}
