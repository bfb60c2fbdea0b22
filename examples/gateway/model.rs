//! A model that repeats what it was told, a word at a time, and bills each word as a token.

use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Json, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http_body_util::channel::{Channel, Sender};
use serde_json::{Value, json};

/// The model behind `/v1/chat/completions`, and the list of all one of them, with a pause between two words.
pub(crate) fn router(pause: Duration) -> Router {
    Router::new().route("/v1/chat/completions", post(complete)).route("/v1/models", get(list)).with_state(pause)
}

/// Tokens of a text by this model's tokenizer. In front of a real model use its own, or a bound: no token is shorter than a
/// byte.
pub(crate) fn count_tokens(text: &str) -> u64 {
    text.split_whitespace().count() as u64
}

/// What the messages of a request say.
pub(crate) fn prompt(request: &Value) -> String {
    let messages = request["messages"].as_array().into_iter().flatten();
    messages.filter_map(|message| message["content"].as_str()).collect::<Vec<_>>().join(" ")
}

async fn list(State(pause): State<Duration>) -> Json<Value> {
    tokio::time::sleep(pause).await;
    Json(json!({"object": "list", "data": [{"id": "parrot", "object": "model"}]}))
}

async fn complete(State(pause): State<Duration>, Json(request): Json<Value>) -> Response {
    let prompt = prompt(&request);
    if prompt.is_empty() {
        return (StatusCode::BAD_REQUEST, Json(json!({"error": {"message": "there is nothing to repeat"}})))
            .into_response();
    }
    let most = request["max_tokens"].as_u64().and_then(|most| usize::try_from(most).ok()).unwrap_or(usize::MAX);
    let words: Vec<_> = prompt.split_whitespace().take(most).map(str::to_owned).collect();
    let (input, output) = (count_tokens(&prompt), words.len() as u64);
    let usage = json!({"prompt_tokens": input, "completion_tokens": output, "total_tokens": input + output});
    if request["stream"] == true {
        let (sender, body) = Channel::new(1);
        tokio::spawn(stream(sender, words, usage, pause));
        return ([(header::CONTENT_TYPE, "text/event-stream")], Body::new(body)).into_response();
    }
    let message = json!({"role": "assistant", "content": words.join(" ")});
    Json(json!({
        "object": "chat.completion",
        "model": request["model"],
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": usage,
    }))
    .into_response()
}

/// Sends the answer as server-sent events, the usage last; `None` when nobody listens any more.
async fn stream(mut sender: Sender<Bytes>, words: Vec<String>, usage: Value, pause: Duration) -> Option<()> {
    for word in words {
        sender.send_data(word_event(&format!("{word} "))).await.ok()?;
        tokio::time::sleep(pause).await;
    }
    let stop = json!([{"index": 0, "delta": {}, "finish_reason": "stop"}]);
    sender.send_data(event(stop, Value::Null)).await.ok()?;
    sender.send_data(event(json!([]), usage)).await.ok()?;
    sender.send_data("data: [DONE]\n\n".into()).await.ok()
}

/// A part of an answer.
pub(crate) fn word_event(text: &str) -> Bytes {
    event(json!([{"index": 0, "delta": {"content": text}}]), Value::Null)
}

fn event(choices: Value, usage: Value) -> Bytes {
    let chunk = json!({"object": "chat.completion.chunk", "choices": choices, "usage": usage});
    format!("data: {chunk}\n\n").into()
}
