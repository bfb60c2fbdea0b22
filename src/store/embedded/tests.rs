use std::collections::BTreeSet;

use super::*;
use crate::script::{self, Op};
use crate::store::ManualClock;

const START_MS: i64 = 1_700_000_000_000;

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|&text| text.to_owned()).collect()
}

fn text(text: &str) -> Reply {
    Reply::Text(text.to_owned())
}

/// A store that owns its time.
struct Fixture {
    store: Embedded,
    clock: Arc<ManualClock>,
}

impl Fixture {
    fn new() -> Self {
        let clock = Arc::new(ManualClock::new(START_MS));
        Self { store: Embedded::builder().shards(4).clock(clock.clone()).build(), clock }
    }

    fn eval(&self, text: &str, keys: &[&str], args: &[&str]) -> Reply {
        self.store.eval(text, &strings(keys), &strings(args)).unwrap()
    }

    /// The words a script on no keys fails with, up to the server's own suffix.
    fn failure(&self, text: &str) -> String {
        let Reply::Error(failure) = self.eval(text, &[], &[]) else { panic!("{text} did not fail") };
        failure.split(" script: ").next().unwrap_or_default().to_owned()
    }

    /// Keys in memory and keys with a TTL, over all shards.
    fn held(&self) -> (usize, usize) {
        let held = self.store.shards.iter().map(|shard| lock(&shard.session).keyspace().held());
        held.fold((0, 0), |sum, shard| (sum.0 + shard.0, sum.1 + shard.1))
    }
}

#[test]
fn a_script_counts_until_its_key_ends() {
    let fixture = Fixture::new();
    let script = "local time = redis.call('TIME')
        local used = redis.call('INCRBY', KEYS[1], ARGV[1])
        if used == tonumber(ARGV[1]) then redis.call('PEXPIRE', KEYS[1], 5) end
        return {'OK', time[1], time[2], used}";
    let run = || fixture.eval(script, &["cost:a:total"], &["7"]);
    let reply = |used| Reply::Array(vec![text("OK"), text("1700000000"), text("5000"), Reply::Int(used)]);

    fixture.clock.advance_ms(5);
    assert_eq!(run(), reply(7));
    assert_eq!(run(), reply(14));
    let entry = DumpEntry {
        key: "cost:a:total".to_owned(),
        value: DumpValue::String("14".to_owned()),
        expire_at_ms: Some(START_MS + 10),
    };
    assert_eq!(fixture.store.dump(), [entry]);

    fixture.clock.advance_ms(6);
    assert_eq!(fixture.store.dump(), []);
    assert_eq!(fixture.eval("return redis.call('GET', KEYS[1])", &["cost:a:total"], &[]), Reply::Null);
}

#[test]
fn the_crates_own_scripts_run() {
    let fixture = Fixture::new();
    let call = ScriptCall {
        script: script::of(Op::Charge),
        keys: strings(&["cost:a:total"]),
        args: strings(&["0", "9999999999999", "5", "9999999999999"]),
        idempotent: false,
    };
    assert_eq!(fixture.store.run_now(&call).unwrap(), text("OK 5"));
    assert_eq!(fixture.store.run_now(&call).unwrap(), text("OK 10"));
    for script in script::all() {
        let refused = fixture.store.eval(script.text(), &[], &[]).unwrap();
        assert!(matches!(refused, Reply::Error(_) | Reply::Text(_)), "{}: {refused:?}", script.name());
    }
}

#[test]
fn there_are_the_commands_that_scripts_use_and_no_more() {
    let texts = script::all().iter().flat_map(|script| script.text().split("call('").skip(1));
    let mut used: BTreeSet<_> =
        texts.map(|text| text.split('\'').next().unwrap_or_default().to_ascii_lowercase()).collect();
    // With it tests take away a TTL, which no script does.
    used.insert("persist".to_owned());
    assert_eq!(commands::names().map(str::to_owned).collect::<BTreeSet<_>>(), used);
}

#[test]
fn a_run_has_one_moment() {
    #[derive(Debug)]
    struct Ticking(std::sync::atomic::AtomicI64);
    impl Clock for Ticking {
        fn now_ms(&self) -> i64 {
            self.0.fetch_add(1_000, std::sync::atomic::Ordering::SeqCst)
        }
    }
    let store = Embedded::builder().clock(Arc::new(Ticking(START_MS.into()))).build();
    let script = "redis.call('SET', KEYS[1], 1, 'PX', 1)
        return redis.call('TIME')[1] == redis.call('TIME')[1] and redis.call('EXISTS', KEYS[1])";
    assert_eq!(store.eval(script, &strings(&["a"]), &[]).unwrap(), Reply::Int(1));
}

#[test]
fn a_key_outside_keys_is_refused_by_name() {
    let fixture = Fixture::new();
    for command in ["'GET', 'b'", "'SET', 'b', 1", "'MGET', KEYS[1], 'b'", "'DEL', 'b'", "'HSET', 'b', 'f', 1"] {
        let reply = fixture.eval(&format!("return redis.call({command})"), &["a"], &[]);
        let Reply::Error(failure) = reply else { panic!("{command}: {reply:?}") };
        assert!(failure.starts_with("ERR Script attempted to access a non declared key 'b'"), "{failure}");
    }
    // The keys of an earlier run do not count.
    fixture.eval("return 1", &["a", "b"], &[]);
    assert!(matches!(fixture.eval("return redis.call('GET', 'b')", &["a"], &[]), Reply::Error(_)));
    assert_eq!(fixture.store.dump(), []);
}

#[test]
fn keys_of_one_call_share_a_hash_tag() {
    let fixture = Fixture::new();
    let run = |keys: &[&str]| fixture.store.eval("return 1", &strings(keys), &[]);
    for keys in
        [&["{a}x", "{a}y"][..], &["x", "y"], &["a{b}c{d}", "{b}"], &["{}x", "y{", "z}{"], &["{{a}x", "{{a}y"], &[]]
    {
        assert_eq!(run(keys).unwrap(), Reply::Int(1), "{keys:?}");
    }
    for keys in [&["{a}x", "{b}x"][..], &["{a}x", "x"], &["x", "{a}x"], &["{a}", "{}{a}"]] {
        let refused = run(keys).unwrap_err();
        assert!(refused.to_string().starts_with("CROSSSLOT"), "{keys:?}: {refused}");
    }
}

#[test]
fn every_call_on_a_tag_meets_the_same_keys() {
    let fixture = Fixture::new();
    for tag in 0..64 {
        let key = format!("n:{{{tag}}}");
        for expected in 1..=3 {
            assert_eq!(fixture.eval("return redis.call('INCRBY', KEYS[1], 1)", &[&key], &[]), Reply::Int(expected));
        }
    }
    assert_eq!(fixture.store.dump().len(), 64);
    assert!(fixture.store.dump().is_sorted_by(|one, other| one.key < other.key));
}

#[test]
fn a_key_nobody_asks_for_again_is_reclaimed() {
    let fixture = Fixture::new();
    for at in 0..1_000 {
        fixture.eval("redis.call('SET', KEYS[1], 1, 'PX', 10)", &[&format!("key:{at}")], &[]);
    }
    assert_eq!(fixture.held(), (1_000, 1_000));
    fixture.clock.advance_ms(11);
    fixture.eval("return 1", &[], &[]);
    let (left, _) = fixture.held();
    assert!(left < 1_000 && left > 900, "one call frees a few keys, not {}", 1_000 - left);
    for _ in 0..1_000 {
        fixture.eval("return 1", &[], &[]);
    }
    assert_eq!(fixture.held(), (0, 0));
}

#[test]
fn renewing_a_ttl_piles_nothing_up() {
    let fixture = Fixture::new();
    for ttl_ms in 1..1_000 {
        let script = "redis.call('INCRBY', KEYS[1], 1) redis.call('PEXPIRE', KEYS[1], ARGV[1])";
        fixture.eval(script, &["a"], &[&ttl_ms.to_string()]);
    }
    assert_eq!(fixture.held(), (1, 1));
    fixture.eval("redis.call('PERSIST', KEYS[1])", &["a"], &[]);
    assert_eq!(fixture.held(), (1, 0));
    fixture.eval("redis.call('PEXPIRE', KEYS[1], 9000) redis.call('SET', KEYS[1], 1)", &["a"], &[]);
    assert_eq!(fixture.held(), (1, 0));
    fixture.eval("redis.call('PEXPIRE', KEYS[1], 9000) redis.call('DEL', KEYS[1])", &["a"], &[]);
    assert_eq!(fixture.held(), (0, 0));
}

#[test]
fn writes_before_a_failure_stay_as_on_redis() {
    let fixture = Fixture::new();
    let reply = fixture.eval("redis.call('INCRBY', KEYS[1], 1) error('too late')", &["a"], &[]);
    assert!(matches!(reply, Reply::Error(_)));
    assert_eq!(fixture.eval("return redis.call('GET', KEYS[1])", &["a"], &[]), text("1"));
}

#[test]
fn a_script_finds_only_what_redis_gives_it() {
    let fixture = Fixture::new();
    for name in ["os", "io", "require", "loadstring", "load", "dofile", "print", "setfenv", "collectgarbage", "cjson"] {
        let expected = format!("ERR user_script:1: Script attempted to access nonexistent global variable '{name}'");
        assert_eq!(fixture.failure(&format!("return {name}")), expected);
    }
    for name in ["string.dump", "math.random", "redis.setresp"] {
        assert_eq!(fixture.eval(&format!("return {name}"), &[], &[]), Reply::Null, "{name}");
    }
}

#[test]
fn what_the_engine_does_not_have_is_said_by_name() {
    let fixture = Fixture::new();
    assert!(fixture.failure("redis.call('XADD', 'a')").contains("has no 'xadd'"));
    for number in ["1.5", "1e15", "0/0", "1/0", "-0.0", "2^53"] {
        let script = format!("redis.call('SET', KEYS[1], {number})");
        let reply = fixture.eval(&script, &["a"], &[]);
        assert!(matches!(&reply, Reply::Error(text) if text.contains("pass a string")), "{number}: {reply:?}");
    }
    for reply in ["return 2^63", "return 0/0", "return '\\255'", "return {'\\255'}", "return {1e300}", "return print"] {
        let reply = fixture.store.eval(reply, &[], &[]);
        assert!(matches!(reply, Err(_) | Ok(Reply::Error(_))), "{reply:?}");
    }
    let unfinished = fixture.store.eval("return 1 +", &[], &[]).unwrap_err();
    assert!(unfinished.to_string().starts_with("ERR Error compiling script (new function): user_script:1:"));
}

#[test]
fn calls_of_any_size_arrive_whole() {
    let fixture = Fixture::new();
    for count in [0, 1, 5, 6, 7, 8, 9, 149, 150, 151, 400] {
        let keys: Vec<_> = (0..count).map(|at| format!("k{at}")).collect();
        let args: Vec<_> = (0..count).map(|at| format!("a{at}")).collect();
        let script = "local all = {} for i = 1, #KEYS do all[i] = KEYS[i] end
            for i = 1, #ARGV do all[#all + 1] = ARGV[i] end return all";
        let reply = fixture.store.eval(script, &keys, &args).unwrap();
        assert_eq!(reply, Reply::Array(keys.iter().chain(&args).map(|part| text(part)).collect()), "{count}");
        let values = fixture.store.eval("return #KEYS > 0 and #redis.call('MGET', unpack(KEYS)) or 0", &keys, &[]);
        assert_eq!(values.unwrap(), Reply::Int(i64::from(count)));
    }
}

#[test]
fn calls_from_many_threads_lose_nothing() {
    let fixture = Fixture::new();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for at in 0..500 {
                    let key = format!("n:{{{}}}", at % 5);
                    fixture.eval("return redis.call('INCRBY', KEYS[1], 3)", &[&key], &[]);
                }
            });
        }
    });
    let values: Vec<_> = fixture.store.dump().into_iter().map(|entry| entry.value).collect();
    assert_eq!(values, vec![DumpValue::String("2400".to_owned()); 5]);
}

#[test]
fn a_store_says_what_it_is() {
    let fixture = Fixture::new();
    assert_eq!(fixture.store.describe(), "embedded");
    assert!(format!("{:?}", fixture.store).starts_with("Embedded { shards: 4"));
}
