//! `spans`: one row a span, as it arrived, attributes under one name whatever convention they used.

use std::sync::Arc;

use arrow_schema::{DataType, Field, Fields, TimeUnit};

use super::{Column, TEXT, Table, attributes_type};

/// Where an attribute that has a column of its own is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    Resource,
    Span,
}

/// An attribute with a typed column of its own. `timesink-otlp` knows which names it arrives under.
#[derive(Debug, Clone)]
pub struct Promoted {
    /// The attribute's current name in the semantic conventions, with dots.
    pub attribute: &'static str,
    /// The column: the name with underscores.
    pub column: &'static str,
    pub data_type: DataType,
    pub level: Level,
    pub doc: &'static str,
}

macro_rules! promoted {
    ($($level:ident $kind:ident $attribute:literal $column:literal $doc:literal;)*) => {
        /// Every attribute with a column of its own, in column order: the resource's, the span's.
        pub const PROMOTED: &[Promoted] = &[$(Promoted {
            attribute: $attribute,
            column: $column,
            data_type: promoted!(@type $kind),
            level: Level::$level,
            doc: $doc,
        }),*];
    };
    (@type text) => { TEXT };
    (@type int) => { DataType::Int64 };
    (@type bool) => { DataType::Boolean };
}

promoted! {
    Resource text "service.name" "service_name" "The service. NULL when the resource has no `service.name`.";
    Resource text "service.namespace" "service_namespace" "The namespace of the service.";
    Resource text "service.version" "service_version" "The version of the service.";
    Resource text "service.instance.id" "service_instance_id" "The process: the Python SDK makes a random UUID a process.";
    Resource text "deployment.environment.name" "deployment_environment_name" "The deployment environment, `production` say.";
    Resource int "process.pid" "process_pid" "The process id.";
    Resource text "process.runtime.name" "process_runtime_name" "The interpreter, `cpython` or `pypy`.";
    Resource text "process.runtime.version" "process_runtime_version" "The interpreter's version.";
    Resource text "host.name" "host_name" "The host's name.";
    Resource text "host.id" "host_id" "The host's unique id.";
    Resource text "host.ip" "host_ip" "The first of the host's addresses.";
    Resource text "telemetry.sdk.language" "telemetry_sdk_language" "The language of the SDK.";
    Resource text "telemetry.sdk.version" "telemetry_sdk_version" "The version of the SDK.";
    Span text "http.request.method" "http_request_method" "The HTTP method.";
    Span int "http.response.status_code" "http_response_status_code" "The HTTP status code.";
    Span text "http.route" "http_route" "The matched route of the server framework.";
    Span int "http.request.body.size" "http_request_body_size" "Bytes of the request body.";
    Span int "http.response.body.size" "http_response_body_size" "Bytes of the response body. `timesink-otel` says up to 14,600 of them in some of a busy service's requests alone: an average is too high there.";
    Span int "http.request.resend_count" "http_request_resend_count" "How many times the request was sent again.";
    Span text "url.full" "url_full" "The absolute URL of a client request.";
    Span text "url.path" "url_path" "The path of the URL.";
    Span text "url.query" "url_query" "The query of the URL.";
    Span text "url.scheme" "url_scheme" "The scheme of the URL.";
    Span text "server.address" "server_address" "The server's name or address.";
    Span int "server.port" "server_port" "The server's port.";
    Span text "client.address" "client_address" "The client's address.";
    Span text "network.peer.address" "network_peer_address" "The peer's address of the connection.";
    Span int "network.peer.port" "network_peer_port" "The peer's port of the connection.";
    Span text "network.protocol.version" "network_protocol_version" "The protocol's version, `1.1` say.";
    Span text "user_agent.original" "user_agent_original" "The `User-Agent` header.";
    Span text "db.system.name" "db_system_name" "The database product, `postgresql` say.";
    Span text "db.namespace" "db_namespace" "The database's name.";
    Span text "db.collection.name" "db_collection_name" "The table or collection.";
    Span text "db.operation.name" "db_operation_name" "The operation or command.";
    Span text "db.query.text" "db_query_text" "The statement as it arrived; may hold literals.";
    Span text "db.query.summary" "db_query_summary" "The statement's summary, as it arrived.";
    Span int "db.operation.batch.size" "db_operation_batch_size" "How many operations the call carried (a Redis pipeline's length).";
    Span text "db.response.status_code" "db_response_status_code" "The database's error code.";
    Span int "db.response.returned_rows" "db_response_returned_rows" "How many rows came back.";
    Span text "rpc.system.name" "rpc_system_name" "The RPC system, `grpc` say.";
    Span text "rpc.service" "rpc_service" "The RPC service.";
    Span text "rpc.method" "rpc_method" "The RPC method.";
    Span text "rpc.response.status_code" "rpc_response_status_code" "The RPC status: gRPC's number as text, or its name.";
    Span text "messaging.system" "messaging_system" "The messaging system.";
    Span text "messaging.destination.name" "messaging_destination_name" "The queue or topic.";
    Span text "messaging.operation.type" "messaging_operation_type" "The kind of operation: `send`, `receive`, `process`.";
    Span text "messaging.message.id" "messaging_message_id" "The message's id.";
    Span int "messaging.batch.message_count" "messaging_batch_message_count" "How many messages the operation carried.";
    Span text "code.function.name" "code_function_name" "The function, with its module where known.";
    Span text "code.file.path" "code_file_path" "The source file.";
    Span int "code.line.number" "code_line_number" "The line in the source file.";
    Span int "thread.id" "thread_id" "The thread's id. `timesink-otel` says it where it is not the parent's, and in some of a busy service's requests.";
    Span text "thread.name" "thread_name" "The thread's name.";
    Span text "error.type" "error_type" "The class of error.";
    Span text "gen_ai.provider.name" "gen_ai_provider_name" "The model's provider.";
    Span text "gen_ai.operation.name" "gen_ai_operation_name" "The operation: `chat`, `embeddings`.";
    Span text "gen_ai.request.model" "gen_ai_request_model" "The model asked for.";
    Span text "gen_ai.response.model" "gen_ai_response_model" "The model that answered.";
    Span int "gen_ai.usage.input_tokens" "gen_ai_usage_input_tokens" "Tokens of the prompt.";
    Span int "gen_ai.usage.output_tokens" "gen_ai_usage_output_tokens" "Tokens of the answer.";
    Span bool "faas.coldstart" "faas_coldstart" "Whether the function's instance was new.";
    Span text "test.case.name" "test_case_name" "The test that ran, by its full name.";
    Span text "faas.trigger" "faas_trigger" "What triggered the function.";
    Span text "asgi.event.type" "asgi_event_type" "The ASGI message of a `http send` or `http receive` span.";
    Span text "jinja2.template_name" "jinja2_template_name" "The template that a Jinja2 span loads, compiles or renders.";
    Span text "service.peer.name" "service_peer_name" "The logical name of the called service.";
    Span text "http.target" "http_target" "Path and query under their name before 1.21: whether it is there tells how Python's Django serves.";
    Span text "timesink.mute.rules" "timesink_mute_rules" "The rules whose findings in this endpoint are of no interest, by name.";
    Span bool "timesink.event_loop" "timesink_event_loop" "Whether the span started on a running event loop; NULL where nobody watches it, and where it goes without saying: as for the parent (`facts.is_on_event_loop` has it there), and for most requests of a busy service on its only loop. By `timesink-otel`.";
    Span text "logfire.msg" "logfire_msg" "Logfire's message: what its span or log says, for people.";
    Span text "timesink.callee" "timesink_callee" "The library's function that blocked the event loop, or that serialized, `json.dumps` say. By `timesink-otel`.";
    Span bool "timesink.process.first_request" "timesink_process_first_request" "Whether the request is the first that its process took. By `timesink-otel`.";
    Span text "timesink.import.module" "timesink_import_module" "The module whose import the span is. By `timesink-otel`.";
    Span int "timesink.gc.generation" "timesink_gc_generation" "The oldest generation that a pause of the collector looked at. By `timesink-otel`.";
    Span int "timesink.gc.collected" "timesink_gc_collected" "Objects that it freed. By `timesink-otel`.";
    Span text "timesink.pool.library" "timesink_pool_library" "The library whose pool of connections the span waits for. By `timesink-otel`.";
    Span int "timesink.pool.size" "timesink_pool_size" "Connections that the pool had. By `timesink-otel`.";
    Span int "timesink.pool.max" "timesink_pool_max" "Connections that the pool may have. By `timesink-otel`.";
    Span text "timesink.thread_pool.library" "timesink_thread_pool_library" "The library whose pool of threads the span waits for. By `timesink-otel`.";
    Span int "timesink.thread_pool.max" "timesink_thread_pool_max" "Threads that the pool may have. By `timesink-otel`.";
    Span int "timesink.thread_pool.waiting" "timesink_thread_pool_waiting" "Calls that waited for a thread then. By `timesink-otel`.";
    Span text "celery.eta" "celery_eta" "When a task of Celery is to run.";
    Span text "celery.countdown" "celery_countdown" "In how many seconds a task of Celery is to run.";
    Span text "db.statement.parameters" "db_statement_parameters" "The parameters of the statement, all of them as text, where the instrumentation is told to capture them.";
    Span int "gen_ai.usage.cache_read.input_tokens" "gen_ai_usage_cache_read_input_tokens" "Tokens of the prompt that came from the provider's cache.";
    Span int "gen_ai.usage.cache_creation.input_tokens" "gen_ai_usage_cache_creation_input_tokens" "Tokens of the prompt that went into it.";
}

/// Returns the type of `events`: a list of structs.
pub fn events_type() -> DataType {
    list_of(vec![
        Field::new("time_unix_nano", DataType::Int64, false),
        Field::new("name", DataType::Utf8, false),
        Field::new("attributes", attributes_type(), false),
        Field::new("attribute_kinds", DataType::Utf8, false),
        Field::new("dropped_attributes_count", DataType::Int64, false),
    ])
}

/// Returns the type of `links`: a list of structs.
pub fn links_type() -> DataType {
    list_of(vec![
        Field::new("trace_id", DataType::Utf8, false),
        Field::new("span_id", DataType::Utf8, false),
        Field::new("trace_state", DataType::Utf8, true),
        Field::new("flags", DataType::Int64, false),
        Field::new("attributes", attributes_type(), false),
        Field::new("attribute_kinds", DataType::Utf8, false),
        Field::new("dropped_attributes_count", DataType::Int64, false),
    ])
}

fn list_of(fields: Vec<Field>) -> DataType {
    let item = Field::new("item", DataType::Struct(Fields::from(fields)), false);
    DataType::List(Arc::new(item))
}

/// Returns the table's description.
pub fn table() -> Table {
    let int = DataType::Int64;
    let mut columns = vec![
        Column::required("trace_id", TEXT, "The trace, 32 hex digits."),
        Column::required("span_id", TEXT, "The span, 16 hex digits; unique in its trace."),
        Column::optional("parent_span_id", TEXT, "The parent span; NULL for a root."),
        Column::optional("trace_state", TEXT, "W3C `tracestate` as it arrived."),
        Column::required(
            "flags",
            int.clone(),
            "W3C trace flags in the low 8 bits; 256 says that bit 512, `parent is remote`, is known.",
        ),
        Column::required("name", TEXT, "The span's name; empty when none arrived."),
        Column::required(
            "kind",
            TEXT,
            "UNSPECIFIED, INTERNAL, SERVER, CLIENT, PRODUCER, CONSUMER, or a number unknown to OTLP 1.11.",
        ),
        Column::required(
            "status_code",
            TEXT,
            "UNSET, OK, ERROR, or a number unknown to OTLP 1.11.",
        ),
        Column::optional("status_message", TEXT, "The status message."),
        Column::required("start_time_unix_nano", int.clone(), "Start, ns since the epoch."),
        Column::required("end_time_unix_nano", int.clone(), "End, ns since the epoch."),
        Column::required("duration_nanos", int.clone(), "End minus start, ns."),
        Column::required(
            "start_time",
            DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            "Start for people and for pruning, microseconds.",
        ),
    ];
    columns.extend(promoted_columns(Level::Resource));
    columns.extend([
        Column::optional("resource_schema_url", TEXT, "The resource's schema URL."),
        Column::optional("scope_name", TEXT, "The instrumentation scope."),
        Column::optional("scope_version", TEXT, "The scope's version."),
        Column::optional(
            "scope_attributes",
            attributes_type(),
            "The scope's attributes; NULL when it has none.",
        ),
        Column::optional("scope_schema_url", TEXT, "The scope's schema URL."),
    ]);
    columns.extend(promoted_columns(Level::Span));
    columns.extend([
        Column::required(
            "attributes",
            attributes_type(),
            "Every span attribute under the name it arrived with, values as text.",
        ),
        Column::required("attribute_kinds", TEXT, KINDS_DOC),
        Column::required(
            "resource_attributes",
            attributes_type(),
            "Every resource attribute under the name it arrived with, values as text.",
        ),
        Column::required("resource_attribute_kinds", TEXT, KINDS_DOC),
        Column::optional("scope_attribute_kinds", TEXT, KINDS_DOC),
        Column::optional("events", events_type(), "The span's events; NULL when it has none."),
        Column::optional("links", links_type(), "The span's links; NULL when it has none."),
        Column::required(
            "dropped_attributes_count",
            int.clone(),
            "Attributes that the SDK dropped.",
        ),
        Column::required("dropped_events_count", int.clone(), "Events that the SDK dropped."),
        Column::required("dropped_links_count", int.clone(), "Links that the SDK dropped."),
        Column::required(
            "resource_dropped_attributes_count",
            int.clone(),
            "Resource attributes that the SDK dropped.",
        ),
        Column::required(
            "scope_dropped_attributes_count",
            int,
            "Scope attributes that the SDK dropped.",
        ),
    ]);
    Table {
        name: "spans",
        doc: "One row a span, as it arrived; a span that arrives again counts once.",
        columns,
    }
}

const KINDS_DOC: &str = "One letter an attribute, in order: s string, i integer, d double, b boolean, a array, k key-value list, y bytes, n no value.";

fn promoted_columns(level: Level) -> impl Iterator<Item = Column> {
    PROMOTED
        .iter()
        .filter(move |p| p.level == level)
        .map(|p| Column::optional(p.column, p.data_type.clone(), p.doc))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_of_attributes_are_their_names_with_underscores() {
        for p in PROMOTED {
            assert_eq!(p.column, p.attribute.replace('.', "_"));
        }
    }

    #[test]
    fn column_names_are_unique() {
        let mut names: Vec<_> = table().columns.iter().map(|c| c.name).collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
