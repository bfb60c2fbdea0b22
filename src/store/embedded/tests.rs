use super::*;
use crate::store::ManualClock;

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|&text| text.to_owned()).collect()
}

/// A store with its own time.
struct Fixture {
    store: Embedded,
    clock: Arc<ManualClock>,
}

impl Fixture {
    fn new() -> Self {
        let clock = Arc::new(ManualClock::new(1_700_000_000_000));
        Self { store: Embedded::builder().shards(4).clock(clock.clone()).build(), clock }
    }

    fn eval(&self, text: &str, keys: &[&str], args: &[&str]) -> Reply {
        self.store.eval(text, &strings(keys), &strings(args)).unwrap()
    }
}

fn text(text: &str) -> Reply {
    Reply::Text(text.to_owned())
}

#[test]
fn a_charge_like_script_runs() {
    let fixture = Fixture::new();
    let script = "local t = redis.call('TIME') local now = t[1] * 1000 + math.floor(t[2] / 1000)
        local n = redis.call('INCRBY', KEYS[1], ARGV[1])
        if n == tonumber(ARGV[1]) then redis.call('PEXPIREAT', KEYS[1], now + 5) end
        return {'OK', string.format('%.0f', now), n}";
    assert_eq!(
        fixture.eval(script, &["cost:a:total"], &["7"]),
        Reply::Array(vec![text("OK"), text("1700000000000"), Reply::Int(7)])
    );
    let expected = DumpEntry {
        key: "cost:a:total".to_owned(),
        value: DumpValue::String("7".to_owned()),
        expire_at_ms: Some(1_700_000_000_005),
    };
    assert_eq!(fixture.store.dump(), [expected]);
}
