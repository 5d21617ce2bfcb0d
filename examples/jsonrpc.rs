//! JSON-RPC 2.0, one request, notification or batch per line. Requests run at the same time, and each is answered when
//! its result is ready. The methods are `subtract` and `sleep`.
//! Try it: `echo '{"jsonrpc":"2.0","id":1,"method":"subtract","params":[42,23]}' | nc -N 127.0.0.1 9999`.

use std::process::ExitCode;
use std::time::Duration;

use futures_util::future::join_all;
use serde::Deserialize;
use serde_json::{Value, json};
use switchboard::prelude::*;
use tokio::time::sleep;

const MAX_BATCH: usize = 100;

/// An error of the protocol: code and message (JSON-RPC 2.0, section 5.1).
#[derive(Clone, Copy)]
struct RpcError(i64, &'static str);

const PARSE_ERROR: RpcError = RpcError(-32700, "Parse error");
const INVALID_REQUEST: RpcError = RpcError(-32600, "Invalid Request");
const METHOD_NOT_FOUND: RpcError = RpcError(-32601, "Method not found");
const INVALID_PARAMS: RpcError = RpcError(-32602, "Invalid params");

/// Parameters by position or by name.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Subtract {
    minuend: i64,
    subtrahend: i64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Sleep {
    milliseconds: u64,
}

async fn call(method: &str, params: Value) -> Result<Value, RpcError> {
    let invalid = |_| INVALID_PARAMS;
    match method {
        "subtract" => {
            let Subtract { minuend, subtrahend } = serde_json::from_value(params).map_err(invalid)?;
            minuend.checked_sub(subtrahend).map(Value::from).ok_or(INVALID_PARAMS)
        }
        "sleep" => {
            let Sleep { milliseconds } = serde_json::from_value(params).map_err(invalid)?;
            sleep(Duration::from_millis(milliseconds.min(10_000))).await;
            Ok(Value::from(milliseconds))
        }
        _ => Err(METHOD_NOT_FOUND),
    }
}

#[derive(Deserialize)]
struct Request {
    jsonrpc: String,
    method: String,
    #[serde(default)]
    params: Value,
}

/// The response to one request. A notification has no `id` and gets none.
async fn respond(request: Value) -> Option<Value> {
    let id = request.get("id").cloned();
    let is_id = matches!(id, None | Some(Value::Null | Value::String(_) | Value::Number(_)));
    match Request::deserialize(request) {
        Ok(Request { jsonrpc, method, params }) if is_id && jsonrpc == "2.0" => {
            let result = call(&method, params).await;
            Some(response(&id?, result))
        }
        _ => Some(response(&id.filter(|_| is_id).unwrap_or_default(), Err(INVALID_REQUEST))),
    }
}

fn response(id: &Value, result: Result<Value, RpcError>) -> Value {
    match result {
        Ok(result) => json!({ "jsonrpc": "2.0", "result": result, "id": id }),
        Err(RpcError(code, message)) => {
            json!({ "jsonrpc": "2.0", "error": { "code": code, "message": message }, "id": id })
        }
    }
}

struct JsonRpc;

impl Handler for JsonRpc {
    type State = ();

    async fn message(&self, _: &mut Context, message: Bytes) -> Result<Reply> {
        let reply = |value: &Value| Reply::send(value.to_string());
        let refuse = |error| Ok(reply(&response(&Value::Null, Err(error))));
        match serde_json::from_slice(&message) {
            Err(_) => refuse(PARSE_ERROR),
            Ok(Value::Array(batch)) if batch.is_empty() || batch.len() > MAX_BATCH => refuse(INVALID_REQUEST),
            Ok(Value::Array(batch)) => Ok(Reply::unordered(async move {
                let responses: Vec<Value> =
                    join_all(batch.into_iter().map(respond)).await.into_iter().flatten().collect();
                Ok(if responses.is_empty() { Reply::none() } else { reply(&responses.into()) })
            })),
            Ok(request) => {
                Ok(Reply::unordered(async move { Ok(respond(request).await.as_ref().map_or(Reply::none(), reply)) }))
            }
        }
    }

    fn closing(&self, _: &mut Context, reason: CloseReason) -> Option<Bytes> {
        // Other reasons are no fault of a request.
        let is_too_large = reason == CloseReason::FrameTooLarge;
        is_too_large.then(|| response(&Value::Null, Err(INVALID_REQUEST)).to_string().into())
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let address = std::env::args().nth(1).unwrap_or("tcp://127.0.0.1:9999".into());
    Server::bind(address).framing(Lines::default()).run(JsonRpc).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use switchboard::testing::{Law, conformance};

    #[test]
    fn json_rpc_keeps_the_laws() {
        let requests = [
            r#"{"jsonrpc":"2.0","id":1,"method":"subtract","params":[42,23]}"#,
            r#"{"jsonrpc":"2.0","id":2,"method":"sleep","params":{"milliseconds":500}}"#,
            r#"{"jsonrpc":"2.0","method":"subtract","params":[1,1]}"#,
            r#"[{"jsonrpc":"2.0","id":3,"method":"sleep","params":{"milliseconds":5}},1]"#,
            "{",
        ];
        let check = conformance(|| JsonRpc).framing(Lines::default()).messages(requests).cases(40);
        check.waive(Law::ReplyOrder, "replies have request ids").check();
    }
}
