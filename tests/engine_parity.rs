//! The embedded engine answers as a real server does: one-line scripts run on both, and the replies are compared, the
//! words of errors included as far as servers share them.

// Helpers beside the test functions fail the test like these do.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic)]

mod support;

use costguard::store::Reply;
use costguard::store::embedded::Embedded;
use redis::{Connection, Value};
use support::shared_words;

/// Bodies of scripts with two keys of one hash tag, K and L, empty at the start, and ARGV `7`, `text`.
const PROBES: &[&str] = &[
    // What a script returns.
    "return 3.99",
    "return -3.99",
    "return -0.0",
    "return 1e15",
    "return true",
    "return false",
    "return nil",
    "return",
    "return 1, 2",
    "return 'text'",
    "return ''",
    "return 'ümläut'",
    "return {}",
    "return {1, 2, nil, 4}",
    "return {1, false, 3}",
    "return {1, true, 'x'}",
    "return {'12', 12, {'a', {'b', 1.5}}}",
    "return {1,2,3,4,5,6,7,8,9,10,'11'}",
    "return {nil, 1}",
    "return {'a', 123456789012345}",
    "return {ok = 'FINE'}",
    "return {ok = 'two\\nlines'}",
    "return {err = 'MY error'}",
    "return {err = 'MY error', 5}",
    "return redis.error_reply('MY error')",
    "return redis.error_reply('MYerror')",
    "return redis.error_reply('-MY error')",
    "return redis.error_reply('COSTGUARD_CONFLICT another amount; use a new id')",
    "return redis.error_reply()",
    "return #KEYS .. ':' .. #ARGV .. ARGV[1] .. tostring(ARGV[3])",
    // Errors a script raises.
    "error('x')",
    "error('x', 0)",
    "error({err = 'MY x'})",
    "local a = nil; return a.b",
    "return y",
    "y = 1",
    "return 1 +",
    "return redis.nothing()",
    "return pcall(error, 'x')",
    "local ok, e = pcall(error, 'x') return {tostring(ok), e}",
    "local ok, e = pcall(error, {err = 'MY x'}) return {tostring(ok), e}",
    "local ok, e = pcall(redis.call, 'INCRBY', K) return {tostring(ok), type(e), e}",
    "local ok, e = xpcall(function() error({err = 'MY x'}) end, function(e) return e.err end) return {tostring(ok), e}",
    "local ok, e = xpcall(function() redis.call('GET') end, function(e) return e.err end) return {tostring(ok), e}",
    "local e = redis.pcall('INCRBY', K) return {type(e), e.err}",
    "return redis.pcall('INCRBY', K)",
    "local function f() error('deep') end\n\nf()",
    "local function f() redis.call('HGET', K) end\n\nf()",
    "return string.rep()",
    "return ('x'):bad()",
    // Lua as Redis's.
    "return tostring(2^53)",
    "return tostring(1e15) .. tostring(0.1) .. tostring(1e14)",
    "return string.format('%.0f', 2^53)",
    "return string.format('%.0f', -5)",
    "return string.format('%.0f', -0.0)",
    "return string.format('%.0f', 2.5)",
    "return string.format('%.0f', '7')",
    "return string.format('%.0f', 2^63)",
    "return string.format('%.0f|%s', 5, 'x')",
    "return string.format('%5.1f', 2.25)",
    "return tostring(tonumber('0x10')) .. tostring(tonumber(' 5 ')) .. tostring(tonumber('5x'))",
    "return 9007199254740992 == 9007199254740993",
    "return {('x'):rep(3, '-'), '\\x41', tostring(math.mod ~= nil)}",
    "return {unpack({1, 2, 3}, 2)}",
    "return table.concat({1, 'b', 3}, ' ')",
    "return string.match('usage:15', '%d+')",
    "return type(loadfile)",
    "return #{1, nil, 3}",
    // How commands are called.
    "return redis.call()",
    "return redis.call('GET')",
    "return redis.call('GET', K, L)",
    "return redis.call('get', K)",
    "return redis.call('TIME', 1)",
    "return redis.call('SET', K, true)",
    "return redis.call('SET', K, {})",
    "return redis.call('SET', K, nil, 1)",
    "redis.call('SET', K, 12) return redis.call('GET', K)",
    "redis.call('SET', K, 123456789012345) return redis.call('GET', K)",
    "redis.call('SET', K, 100000000000000) return redis.call('GET', K)",
    "return type(redis.call('TIME')[1]) .. #redis.call('TIME')",
    "return type(redis.call('GET', K))",
    "return redis.call('SET', K, 'v').ok",
    "redis.call('SET', K, 'a\\0b') return #redis.call('GET', K)",
    "redis.call('SET', K, '\\255') return redis.call('GET', K) == '\\255'",
    // Strings and counters.
    "return redis.call('SET', K, 'v')",
    "redis.call('SET', K, 'v') return redis.call('SET', K, 'w', 'NX')",
    "return redis.call('SET', K, 'w', 'nx')",
    "redis.call('HSET', K, 'f', 1) redis.call('SET', K, 'w') return redis.call('GET', K)",
    "redis.call('SET', K, 'v', 'PX', 100000) return redis.call('PTTL', K) > 99000",
    "redis.call('SET', K, 'v', 'PX', 100000) redis.call('SET', K, 'w') return redis.call('PTTL', K)",
    "redis.call('SET', K, 'v', 'PX', 100000) redis.call('SET', K, 'w', 'KEEPTTL') return redis.call('PTTL', K) > 99000",
    "redis.call('SET', K, 'v', 'PX', 1) redis.call('SET', K, 'v', 'PX', 100000) return redis.call('PTTL', K) > 99000",
    "redis.call('SET', K, 'v', 'PXAT', 1) return redis.call('EXISTS', K)",
    "redis.call('SET', K, 'v', 'PXAT', 99999999999999) return redis.call('PTTL', K) > 90000000000000",
    "return redis.call('SET', K, 'v', 'PX', 0)",
    "return redis.call('SET', K, 'v', 'PX', -1)",
    "return redis.call('SET', K, 'v', 'PX', 'x')",
    "return redis.call('SET', K, 'v', 'PX', '9223372036854775807')",
    "return redis.call('SET', K, 'v', 'PX')",
    "return redis.call('SET', K, 'v', 'PX', 1, 'PXAT', 1)",
    "return redis.call('SET', K, 'v', 'PX', 1, 'PX', 100000)",
    "return redis.call('SET', K, 'v', 'PX', 1, 'KEEPTTL')",
    "return redis.call('SET', K, 'v', 'KEEPTTL', 'PX', 1)",
    "return redis.call('SET', K, 'v', 'KEEPTTL', 'KEEPTTL')",
    "return redis.call('SET', K, 'v', 'NOPE')",
    "redis.call('SET', K, '007') return redis.call('GET', K)",
    "redis.call('SET', K, -77) return redis.call('GET', K)",
    "redis.call('HSET', K, 'f', 1) return redis.call('GET', K)",
    "redis.call('HSET', K, 'f', 1) redis.call('SET', L, 'x') return redis.call('MGET', L, K, L)",
    "return redis.call('MGET', K, L)",
    "return redis.call('MGET', K, K, K, K, K, K, K, K, L)",
    "return redis.call('INCRBY', K, 1)",
    "return redis.call('DECRBY', K, 1)",
    "return redis.call('INCRBY', K, ARGV[1])",
    "return redis.call('DECRBY', K, ARGV[1])",
    "return redis.call('INCRBY', K, '+5')",
    "return redis.call('INCRBY', K, ' 5')",
    "return redis.call('INCRBY', K, '05')",
    "return redis.call('INCRBY', K, '-0')",
    "return redis.call('INCRBY', K, '')",
    "return redis.call('INCRBY', K, ARGV[2])",
    "return redis.call('INCRBY', K, '9223372036854775808')",
    "redis.call('SET', K, ARGV[2]) return redis.call('INCRBY', K, 1)",
    "redis.call('SET', K, ' 1') return redis.call('INCRBY', K, 1)",
    "redis.call('SET', K, '01') return redis.call('INCRBY', K, 1)",
    "redis.call('SET', K, '9223372036854775807') return redis.call('INCRBY', K, 1)",
    "redis.call('SET', K, '-9223372036854775808') return redis.call('DECRBY', K, 1)",
    "redis.call('SET', K, '9223372036854775806') redis.call('INCRBY', K, 1) return redis.call('GET', K)",
    "return redis.call('DECRBY', K, '-9223372036854775808')",
    "redis.call('HSET', K, 'f', 1) return redis.call('INCRBY', K, 1)",
    "redis.call('HSET', K, 'f', 1) return redis.call('INCRBY', K, 'x')",
    "redis.call('SET', K, 1, 'PX', 100000) redis.call('INCRBY', K, 1) return redis.call('PTTL', K) > 99000",
    // Hashes.
    "return redis.call('HSET', K, 'a', 1, 'b', 2)",
    "return redis.call('HSET', K, 'a', 1, 'a', 2)",
    "return redis.call('HSET', K, 'a', 1, 'b')",
    "return redis.call('HSET', K, 'a')",
    "redis.call('HSET', K, 'a', 1) return redis.call('HSET', K, 'a', 2, 'b', 3)",
    "redis.call('HSET', K, 'z', 1, 'a', 2, 'm', 'x') redis.call('HSET', K, 'z', 9) return redis.call('HGETALL', K)",
    "redis.call('HSET', K, 'z', 1, 'a', 2, 'm', 3) redis.call('HDEL', K, 'z', 'q') return redis.call('HGETALL', K)",
    "return redis.call('HGETALL', K)",
    "return {redis.call('HGET', K, 'a'), redis.call('HMGET', K, 'a', 'b'), redis.call('HLEN', K)}",
    "redis.call('HSET', K, 'a', 1) return {redis.call('HGET', K, 'a'), redis.call('HMGET', K, 'a', 'b', 'a'), redis.call('HLEN', K)}",
    "redis.call('HSET', K, 'a', 1) return {redis.call('HDEL', K, 'a', 'a', 'b'), redis.call('EXISTS', K), redis.call('HDEL', K, 'a')}",
    "return {redis.call('HINCRBY', K, 'a', 5), redis.call('HINCRBY', K, 'a', -7), redis.call('HINCRBY', K, 'b', 1)}",
    "return redis.call('HINCRBY', K, 'a', 'x')",
    "redis.call('HSET', K, 'a', 'x') return redis.call('HINCRBY', K, 'a', 1)",
    "redis.call('HSET', K, 'a', '9223372036854775807') return redis.call('HINCRBY', K, 'a', 1)",
    "redis.call('SET', K, 1) return redis.call('HINCRBY', K, 'a', 1)",
    "redis.call('SET', K, 1) return redis.call('HGET', K, 'a')",
    "redis.call('SET', K, 1) return redis.call('HSET', K, 'a', 1)",
    "redis.call('SET', K, 1) return redis.call('HGETALL', K)",
    "redis.call('SET', K, 1) return redis.call('HDEL', K, 'a')",
    "redis.call('SET', K, 1) return redis.call('HMGET', K, 'a')",
    // Keys and TTLs.
    "redis.call('SET', K, 1) return {redis.call('EXISTS', K, L, K), redis.call('DEL', K, L, K), redis.call('EXISTS', K)}",
    "return {redis.call('PTTL', K), redis.call('PERSIST', K)}",
    "redis.call('SET', K, 1) return {redis.call('PTTL', K), redis.call('PERSIST', K)}",
    "redis.call('SET', K, 1) redis.call('PEXPIRE', K, 100499) return {redis.call('PTTL', K) > 99000, redis.call('PERSIST', K), redis.call('PTTL', K)}",
    "redis.call('SET', K, 1) return {redis.call('PEXPIRE', K, 100000), redis.call('PTTL', K) > 99000}",
    "redis.call('SET', K, 1) return {redis.call('PEXPIREAT', K, '99999999999999'), redis.call('PTTL', K) > 90000000000000}",
    "return redis.call('PEXPIRE', K, 100000)",
    "redis.call('SET', K, 1) return {redis.call('PEXPIRE', K, 0), redis.call('EXISTS', K)}",
    "redis.call('SET', K, 1) return {redis.call('PEXPIRE', K, -5), redis.call('EXISTS', K)}",
    "redis.call('SET', K, 1) return {redis.call('PEXPIREAT', K, 1), redis.call('EXISTS', K)}",
    "redis.call('SET', K, 1) return redis.call('PEXPIRE', K, '9223372036854775807')",
];

/// Whole scripts: what the first line says counts.
const SCRIPTS: &[&str] = &[
    "#!lua\nreturn 1",
    "#!lua flags=no-writes\nreturn redis.call('SET', KEYS[1], 1)",
    "#!lua flags=no-writes\nreturn redis.pcall('SET', KEYS[1], 1)",
    "#!lua flags=no-writes\nreturn redis.call('GET', KEYS[1])",
    "#!lua flags=no-writes,allow-oom\nreturn redis.call('PEXPIRE', KEYS[1])",
    "#!lua flags=allow-oom\nerror('line two')",
    "#!lua\n\nreturn y",
    "#!lua flags=nope\nreturn 1",
    "#!lua name=x\nreturn 1",
    "#!js\nreturn 1",
    "#!lua",
    "#!lua flags=\nreturn 1",
    " #!lua\nreturn 1",
    "return 1 -- no line break",
    "\r\nreturn y",
];

fn from_server(answer: redis::RedisResult<Value>) -> Reply {
    match answer {
        Ok(value) => from_value(value),
        Err(err) => Reply::Error(error_text(err.code(), err.detail())),
    }
}

fn error_text(code: Option<&str>, detail: Option<&str>) -> String {
    [code, detail].into_iter().flatten().collect::<Vec<_>>().join(" ")
}

fn from_value(value: Value) -> Reply {
    match value {
        Value::Nil => Reply::Null,
        Value::Int(number) => Reply::Int(number),
        Value::BulkString(bytes) => Reply::Text(String::from_utf8(bytes).unwrap()),
        Value::Okay => Reply::Status("OK".to_owned()),
        Value::SimpleString(text) => Reply::Status(text),
        Value::Array(items) => Reply::Array(items.into_iter().map(from_value).collect()),
        Value::ServerError(err) => Reply::Error(error_text(Some(err.code()), err.details())),
        other => panic!("no script answers {other:?} over RESP2"),
    }
}

/// A script may also hand on the text of an error that it caught.
fn in_shared_words(reply: Reply) -> Reply {
    match reply {
        Reply::Error(text) => Reply::Error(shared_words(&text)),
        Reply::Text(text) => Reply::Text(shared_words(&text)),
        Reply::Array(items) => Reply::Array(items.into_iter().map(in_shared_words).collect()),
        other => other,
    }
}

/// Runs one script on both, on keys of its own, and tells what differs.
fn difference(server: &mut Connection, embedded: &Embedded, number: usize, script: &str) -> Option<String> {
    let keys = ["k", "l"].map(|name| format!("parity:{{{number}}}:{name}"));
    let args = ["7", "text"].map(str::to_owned);
    redis::cmd("DEL").arg(&keys).exec(server).unwrap();
    let expected =
        in_shared_words(from_server(redis::cmd("EVAL").arg(script).arg(2).arg(&keys).arg(&args).query(server)));
    let actual = embedded.eval(script, &keys, &args).unwrap_or_else(|err| Reply::Error(err.to_string()));
    let actual = in_shared_words(actual);
    redis::cmd("DEL").arg(&keys).exec(server).unwrap();
    (actual != expected).then(|| format!("{script}\n  server:   {expected:?}\n  embedded: {actual:?}"))
}

#[test]
fn the_embedded_engine_answers_as_the_server_does() {
    let mut server = redis::Client::open(support::server_url()).unwrap().get_connection().unwrap();
    let embedded = Embedded::new();
    let probes = PROBES.iter().map(|body| format!("local K, L = KEYS[1], KEYS[2] {body}"));
    let scripts: Vec<_> = probes.chain(SCRIPTS.iter().map(|&script| script.to_owned())).collect();
    let differences: Vec<_> = scripts
        .iter()
        .enumerate()
        .filter_map(|(number, script)| difference(&mut server, &embedded, number, script))
        .collect();
    assert!(differences.is_empty(), "{} differ:\n{}", differences.len(), differences.join("\n"));
}
