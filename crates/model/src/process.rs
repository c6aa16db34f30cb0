//! What tells processes apart, and what they run.

/// Last segments of the instrumentation scopes whose SERVER spans show that the process serves
/// requests on an event loop (`opentelemetry.instrumentation.fastapi` and its relatives).
pub const EVENT_LOOP_SCOPES: [&str; 4] = ["fastapi", "starlette", "asgi", "aiohttp_server"];

/// The instrumentation scope of `timesink-otel`, the companion inside of a Python service.
pub const COMPANION_SCOPE: &str = "timesink_otel";

/// Names of the companion's spans that say when a process stood still: its event loop, or all of
/// it for the garbage collector.
const NOTES: [&str; 2] = ["timesink.event_loop.blocked", "timesink.gc.pause"];

/// The scope under which Logfire warns of slow callbacks, in spans that take no time.
const SLOW_CALLBACKS_SCOPE: &str = "logfire.asyncio";

/// Whether a span of a scope, name and kind is a *note*: it says when its process stood still,
/// which lies across the work of requests and is none of it.
pub fn is_note(scope: &str, name: &str, kind: &str) -> bool {
    let is_one = match scope {
        COMPANION_SCOPE => NOTES.contains(&name),
        SLOW_CALLBACKS_SCOPE => true,
        _ => false,
    };
    is_one && kind == "INTERNAL"
}
