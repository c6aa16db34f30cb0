//! What tells processes apart, and what they run.

/// Last segments of the instrumentation scopes whose SERVER spans show that the process serves
/// requests on an event loop (`opentelemetry.instrumentation.fastapi` and its relatives).
pub const EVENT_LOOP_SCOPES: [&str; 4] = ["fastapi", "starlette", "asgi", "aiohttp_server"];
