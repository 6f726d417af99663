//! What stands around every handler: its camera's log span, its fail point, and a catch for its panics.
//!
//! actix restarts nothing that panicked, and while a panic unwinds through it, `stopping`, `stopped` and `Drop`
//! run. So no panic of a handler gets that far: it ends this actor alone and is told to its parent, which starts
//! a new one after a wait.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::pool::panic_text;
use actix::{Actor, ActorContext, Context, Recipient};

use super::messages::{Part, PartFailed};
use crate::failpoint;

/// An actor that is one part of a camera.
pub trait CameraPart: Actor<Context = Context<Self>> {
    const PART: Part;
    fn camera(&self) -> &str;
    fn generation(&self) -> u64;
    fn span(&self) -> &tracing::Span;
    /// Who restarts it.
    fn parent(&self) -> &Recipient<PartFailed>;
}

/// Runs `body`; a panic becomes its text. `place` and `of` name its fail point.
pub fn caught(place: &str, of: &str, body: impl FnOnce()) -> Result<(), String> {
    catch_unwind(AssertUnwindSafe(|| {
        failpoint::reach(place, of);
        body();
    }))
    .map_err(|panic| panic_text(panic.as_ref()))
}

/// Runs the body of a handler. `place` names its fail point.
pub fn guarded<A: CameraPart>(
    actor: &mut A,
    context: &mut Context<A>,
    place: &str,
    body: impl FnOnce(&mut A, &mut Context<A>),
) {
    let span = actor.span().clone();
    let _in_span = span.enter();
    let camera = actor.camera().to_owned();
    if let Err(cause) = caught(place, &camera, || body(actor, context)) {
        let failed = PartFailed { camera, part: A::PART, generation: actor.generation(), cause };
        actor.parent().do_send(failed);
        context.terminate();
    }
}
