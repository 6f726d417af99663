//! The side of Tarsier: the process that looks, and a deadline for each of its answers.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use super::{Answer, ConfirmError, Question};

/// This program, also where its file was replaced meanwhile.
const ITSELF: &str = "/proc/self/exe";
/// The command by which it is one that looks.
pub const COMMAND: &str = "confirm";

/// A process that looks at pictures. It ends when this is dropped, or when the thread that started it does.
pub struct Helper {
    child: Child,
    questions: mpsc::Sender<Vec<u8>>,
    answers: mpsc::Receiver<io::Result<String>>,
}

impl Helper {
    /// Starts this program once more.
    pub fn start() -> Result<Self, ConfirmError> {
        Helper::of(Path::new(ITSELF))
    }

    /// Starts a `tarsier` that is elsewhere.
    pub fn of(program: &Path) -> Result<Self, ConfirmError> {
        let mut command = Command::new(program);
        command.arg(COMMAND).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        // What it says of models goes into its answers.
        command.env("OPENCV_LOG_LEVEL", "SILENT").env_remove("NOTIFY_SOCKET").env_remove("WATCHDOG_USEC");
        let mut child = command.spawn().map_err(ConfirmError::Start)?;
        let (questions, asked) = mpsc::channel();
        let (tell, answers) = mpsc::channel();
        let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(ConfirmError::Start(io::ErrorKind::BrokenPipe.into()));
        };
        // Reading and writing may hang as the process does: a thread waits, and ends when the process is killed.
        let talk = move || {
            if let Err(error) = talk(stdin, stdout, &asked, &tell) {
                let _ = tell.send(Err(error));
            }
        };
        let thread = thread::Builder::new().name("confirm-pipe".into()).spawn(talk);
        let helper = Helper { child, questions, answers };
        thread.map(|_| helper).map_err(ConfirmError::Start)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(super) fn ask(
        &mut self,
        question: &Question,
        picture: &[u8],
        within: Duration,
    ) -> Result<Answer, ConfirmError> {
        let mut bytes = serde_json::to_vec(question).map_err(|error| ConfirmError::Model(error.to_string()))?;
        bytes.push(b'\n');
        bytes.extend_from_slice(picture);
        if self.questions.send(bytes).is_err() {
            return Err(self.crashed());
        }
        let line = match self.answers.recv_timeout(within) {
            Ok(Ok(line)) => line,
            Err(RecvTimeoutError::Timeout) => {
                self.end();
                return Err(ConfirmError::TooSlow(within));
            }
            Ok(Err(_)) | Err(RecvTimeoutError::Disconnected) => return Err(self.crashed()),
        };
        serde_json::from_str(&line).map_err(|_| {
            self.end();
            ConfirmError::Crashed("says what nobody understands".to_owned())
        })
    }

    /// How it ended; it is ended where it has not.
    fn crashed(&mut self) -> ConfirmError {
        let status = self.end();
        ConfirmError::Crashed(match status.map(|status| (status.code(), status.signal())) {
            Some((Some(code), _)) => format!("ended with code {code}"),
            Some((None, Some(signal))) => format!("was ended by signal {signal}"),
            _ => "is gone".to_owned(),
        })
    }

    fn end(&mut self) -> Option<std::process::ExitStatus> {
        // One that has ended by itself keeps its own status.
        let ended = self.child.try_wait().ok().flatten();
        ended.or_else(|| {
            self.child.kill().ok()?;
            self.child.wait().ok()
        })
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        self.end();
    }
}

/// Hands questions on, and answers back, until one side is gone.
fn talk(
    mut stdin: ChildStdin,
    stdout: ChildStdout,
    asked: &mpsc::Receiver<Vec<u8>>,
    tell: &mpsc::Sender<io::Result<String>>,
) -> io::Result<()> {
    let mut stdout = BufReader::new(stdout);
    for question in asked {
        stdin.write_all(&question)?;
        let mut line = String::new();
        if stdout.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if tell.send(Ok(line)).is_err() {
            break;
        }
    }
    Ok(())
}
