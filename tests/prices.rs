//! Costs against hand-computed numbers, an independent oracle, and the whole of a real price file.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use costguard::model::{Money, Price, PriceCatalogue, ServiceTier, TokenKind, Usage};
use costguard::{Amounts, ErrorKind, Estimate};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

fn sample() -> PriceCatalogue {
    PriceCatalogue::from_file(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/prices.json")).unwrap()
}

fn cost(model: &str, usage: Usage) -> i64 {
    sample().cost(model, &usage).unwrap().nanos()
}

fn usd(text: &str) -> Money {
    text.parse().unwrap()
}

/// All kinds at once, so that no kind can be forgotten.
const ALL: [TokenKind; 10] = [
    TokenKind::Input,
    TokenKind::CacheRead,
    TokenKind::CacheWrite5m,
    TokenKind::CacheWrite1h,
    TokenKind::AudioInput,
    TokenKind::AudioCacheRead,
    TokenKind::AudioCacheWrite,
    TokenKind::Output,
    TokenKind::Reasoning,
    TokenKind::AudioOutput,
];

fn usage_of(tokens: [u64; 10], tier: ServiceTier) -> Usage {
    let [
        input,
        cache_read,
        cache_write_5m,
        cache_write_1h,
        audio_input,
        audio_cache_read,
        audio_cache_write,
        output,
        reasoning,
        audio_output,
    ] = tokens;
    Usage {
        input,
        cache_read,
        cache_write_5m,
        cache_write_1h,
        audio_input,
        audio_cache_read,
        audio_cache_write,
        output,
        reasoning,
        audio_output,
        tier,
    }
}

/// What a call with 1,000 tokens of input may cost at most that may generate 1,000.
fn most(prices: &PriceCatalogue, model: &str, tier: ServiceTier) -> Estimate {
    Estimate::priced(prices, model, &Usage::new(1000, 0).with_tier(tier), 1000).unwrap()
}

/// The dearest of the calls that generate 1,000 tokens of one kind.
fn dearest(prices: &PriceCatalogue, model: &str, tier: ServiceTier) -> Estimate {
    let of = |reasoning, audio_output| {
        let output = 1000 - reasoning - audio_output;
        prices.cost(model, &Usage { output, reasoning, audio_output, tier, ..Usage::new(1000, 0) }).ok()
    };
    let costs = [of(0, 0), of(1000, 0), of(0, 1000)];
    Amounts::cost(costs.into_iter().flatten().max().unwrap()).tokens(2000).into()
}

#[test]
fn an_estimate_is_the_most_that_a_call_can_cost_whatever_it_generates() {
    let text = r#"{"thinks": {"input_cost_per_token": 1.5e-07, "output_cost_per_token": 6e-07,
        "output_cost_per_reasoning_token": 3.5e-06, "output_cost_per_token_batches": 3e-07,
        "output_cost_per_reasoning_token_batches": 2e-07, "output_cost_per_token_above_900_tokens_priority": 9e-06}}"#;
    let prices = PriceCatalogue::from_json(text).unwrap();
    let dollars = |text: &str| Estimate::from(Amounts::cost(usd(text)).tokens(2000));
    assert_eq!(most(&prices, "thinks", ServiceTier::Standard), dollars("0.00365"));
    assert_eq!(most(&prices, "thinks", ServiceTier::Batch), dollars("0.00045"));
    // The output price of the long context is the reasoning price there.
    assert_eq!(most(&prices, "thinks", ServiceTier::Priority), dollars("0.00915"));

    // What is said to be generated already stays what it is.
    let drafted = Usage { output: 10, reasoning: 20, ..Usage::new(100, 0) };
    let all = prices.cost("thinks", &Usage { reasoning: 1020, ..drafted }).unwrap();
    let estimate = Estimate::priced(&prices, "thinks", &drafted, 1000).unwrap();
    assert_eq!(estimate, Amounts::cost(all).tokens(1130).into());

    let sample = sample();
    let tiers = [ServiceTier::Standard, ServiceTier::Batch, ServiceTier::Flex, ServiceTier::Priority];
    for (model, tier) in sample.models().flat_map(|model| tiers.map(|tier| (model, tier))) {
        assert_eq!(most(&sample, model, tier), dearest(&sample, model, tier), "{model} {tier}");
    }
    let plain = sample.cost("claude-sonnet-4-5", &Usage::new(1000, 1000)).unwrap();
    let estimate = most(&sample, "claude-sonnet-4-5", ServiceTier::Standard);
    assert_eq!(
        estimate,
        Amounts::cost(plain).tokens(2000).into(),
        "where all costs the same it is the price of output"
    );
}

#[test]
fn the_plain_formula_gives_parts_total_and_cents() {
    let cost = Price::per_million(usd("0.003"), usd("0.015")).unwrap().quote(&Usage::new(1000, 500)).unwrap();
    assert_eq!((cost.input.nanos(), cost.output.nanos(), cost.total.nanos()), (3_000, 7_500, 10_500));
    assert_eq!(cost.total.to_string(), "0.0000105");
    assert_eq!(cost.cents_rounded_up(), 1);
    assert_eq!(cost.to_string(), "0.0000105 (input 0.000003, output 0.0000075)");
}

#[test]
fn every_kind_has_its_own_price() {
    let mut price = Price::default();
    for (index, kind) in (1..).zip(ALL) {
        price = price.with(kind, Money::from_nanos(index * 1_000_000_000)).unwrap();
    }
    for (index, kind) in (1..).zip(ALL) {
        let mut tokens = [0; 10];
        tokens[usize::try_from(index - 1).unwrap()] = 7;
        let usage = usage_of(tokens, ServiceTier::Standard);
        assert_eq!(usage.tokens(kind), 7);
        assert_eq!(price.quote(&usage).unwrap().total.nanos(), index * 7_000, "{kind}");
    }
}

#[test]
fn caching_is_priced_by_read_and_lifetime() {
    // 100 x 3.00 + 10,000 x 0.30 + 1,000 x 3.75 + 2,000 x 6.00 + 500 x 15.00 dollars per million.
    let usage =
        Usage { cache_read: 10_000, cache_write_5m: 1_000, cache_write_1h: 2_000, output: 500, ..Usage::new(100, 0) };
    assert_eq!(cost("claude-sonnet-4-5", usage), 300_000 + 3_000_000 + 3_750_000 + 12_000_000 + 7_500_000);
}

#[test]
fn service_tiers_have_their_own_prices_and_otherwise_the_standard_one() {
    let usage = Usage { cache_read: 1_000, ..Usage::new(1_000, 1_000) };
    assert_eq!(cost("gpt-4o", usage), 2_500_000 + 1_250_000 + 10_000_000);
    assert_eq!(cost("gpt-4o", usage.with_tier(ServiceTier::Priority)), 4_250_000 + 2_125_000 + 17_000_000);
    // No batch price for cache reads, no flex prices at all.
    assert_eq!(cost("gpt-4o", usage.with_tier(ServiceTier::Batch)), 1_250_000 + 1_250_000 + 5_000_000);
    assert_eq!(cost("gpt-4o", usage.with_tier(ServiceTier::Flex)), 13_750_000);
}

#[test]
fn audio_is_priced_apart_from_text() {
    let usage = Usage { audio_input: 100, audio_output: 10, ..Usage::new(1_000, 50) };
    assert_eq!(cost("gpt-4o-audio-preview", usage), 2_500_000 + 4_000_000 + 500_000 + 800_000);
}

#[test]
fn the_whole_call_moves_up_a_tier_with_the_first_token_above_it() {
    let at = Usage { cache_read: 150_000, cache_write_5m: 40_000, cache_write_1h: 5_000, ..Usage::new(5_000, 1_000) };
    assert_eq!(at.prompt_tokens(), 200_000);
    assert_eq!(cost("claude-sonnet-4-5", at), 15_000_000 + 45_000_000 + 150_000_000 + 30_000_000 + 15_000_000);
    let above = Usage { input: 5_001, ..at };
    assert_eq!(cost("claude-sonnet-4-5", above), 30_006_000 + 90_000_000 + 300_000_000 + 60_000_000 + 22_500_000);
    // Output does not count towards the tier.
    assert_eq!(cost("claude-sonnet-4-5", Usage::new(200_000, 50_000)), 600_000_000 + 750_000_000);
}

#[test]
fn the_longest_tier_that_is_exceeded_applies() {
    let price = Price::per_million(usd("1"), usd("0")).unwrap();
    let price = price.with_long_context(256_000, ServiceTier::Standard, TokenKind::Input, usd("4")).unwrap();
    let price = price.with_long_context(128_000, ServiceTier::Standard, TokenKind::Input, usd("2")).unwrap();
    for (tokens, rate) in [(128_000, 1), (128_001, 2), (256_000, 2), (256_001, 4), (9_000_000, 4)] {
        let total = price.quote(&Usage::new(tokens, 0)).unwrap().total.nanos();
        assert_eq!(total, i64::try_from(tokens).unwrap() * rate * 1_000, "{tokens}");
    }
}

#[test]
fn a_service_tier_and_a_context_tier_combine() {
    let text = r#"{"m": {
        "input_cost_per_token": 2e-06, "input_cost_per_token_priority": 3.6e-06, "input_cost_per_token_batches": 1e-06,
        "input_cost_per_token_above_200k_tokens": 4e-06, "input_cost_per_token_above_200k_tokens_priority": 7.2e-06,
        "output_cost_per_token": 1.2e-05, "output_cost_per_token_priority": 2.16e-05,
        "output_cost_per_token_above_200k_tokens": 1.8e-05}}"#;
    let catalogue = PriceCatalogue::from_json(text).unwrap();
    let price = catalogue.get("m").unwrap();
    let rate = |kind, tier, prompt| price.rate(kind, tier, prompt).unwrap().to_string();
    assert_eq!(rate(TokenKind::Input, ServiceTier::Priority, 200_000), "3.60");
    assert_eq!(rate(TokenKind::Input, ServiceTier::Priority, 200_001), "7.20");
    // Where the combination is not listed, the dearer of the two holds: 21.6 over 18, and 4 over 1.
    assert_eq!(rate(TokenKind::Output, ServiceTier::Priority, 200_001), "21.60");
    assert_eq!(rate(TokenKind::Input, ServiceTier::Batch, 200_001), "4.00");
    assert_eq!(rate(TokenKind::Input, ServiceTier::Batch, 200_000), "1.00");
}

#[test]
fn xai_tiers_begin_at_their_number() {
    for (provider, at, above) in [("xai", "6.00", "6.00"), ("openai", "3.00", "6.00")] {
        let text = format!(
            r#"{{"m": {{"input_cost_per_token": 3e-06, "input_cost_per_token_above_200k_tokens": 6e-06,
                "litellm_provider": "{provider}"}}}}"#
        );
        let catalogue = PriceCatalogue::from_json(&text).unwrap();
        let rate = |prompt| catalogue.get("m").unwrap().rate(TokenKind::Input, ServiceTier::Standard, prompt);
        assert_eq!(rate(199_999), Some(usd("3")), "{provider}");
        assert_eq!(rate(200_000), Some(usd(at)), "{provider}");
        assert_eq!(rate(200_001), Some(usd(above)), "{provider}");
    }
}

#[test]
fn kinds_without_a_price_take_a_stand_in_that_is_not_cheaper() {
    let price = Price::per_million(usd("3"), usd("15")).unwrap();
    let rate = |price: &Price, kind| price.rate(kind, ServiceTier::Standard, 0).map(|rate| rate.to_string());
    for kind in [TokenKind::CacheRead, TokenKind::CacheWrite5m, TokenKind::CacheWrite1h] {
        assert_eq!(rate(&price, kind).as_deref(), Some("3.00"), "{kind}");
    }
    assert_eq!(rate(&price, TokenKind::Reasoning).as_deref(), Some("15.00"));
    for kind in [TokenKind::AudioInput, TokenKind::AudioOutput, TokenKind::AudioCacheRead, TokenKind::AudioCacheWrite] {
        assert_eq!(rate(&price, kind), None, "{kind}");
    }
    let price = price.with(TokenKind::CacheWrite5m, usd("3.75")).unwrap();
    assert_eq!(rate(&price, TokenKind::CacheWrite1h).as_deref(), Some("3.75"));
    let price = price.with(TokenKind::AudioInput, usd("40")).unwrap();
    assert_eq!(rate(&price, TokenKind::AudioCacheRead).as_deref(), Some("40.00"));
}

#[test]
fn reasoning_and_long_cache_writes_follow_their_variant() {
    let price = Price::per_million(usd("3"), usd("15")).unwrap();
    let price = price.with(TokenKind::Reasoning, usd("20")).unwrap();
    let price = price.with(TokenKind::CacheWrite1h, usd("6")).unwrap();
    let price = price.with_tier(ServiceTier::Batch, TokenKind::Output, usd("7.5")).unwrap();
    let price = price.with_long_context(9, ServiceTier::Standard, TokenKind::Output, usd("30")).unwrap();
    let price = price.with_long_context(9, ServiceTier::Standard, TokenKind::CacheWrite5m, usd("7.5")).unwrap();
    let rate = |kind, tier, prompt| price.rate(kind, tier, prompt).unwrap().to_string();
    assert_eq!(rate(TokenKind::Reasoning, ServiceTier::Standard, 9), "20.00");
    assert_eq!(rate(TokenKind::Reasoning, ServiceTier::Batch, 9), "7.50");
    assert_eq!(rate(TokenKind::Reasoning, ServiceTier::Standard, 10), "30.00");
    assert_eq!(rate(TokenKind::CacheWrite1h, ServiceTier::Standard, 9), "6.00");
    assert_eq!(rate(TokenKind::CacheWrite1h, ServiceTier::Standard, 10), "7.50");
}

#[test]
fn a_kind_without_a_price_or_stand_in_is_an_error_only_when_used() {
    let prices = sample();
    let error = prices.cost("gpt-4", &Usage { audio_output: 12, ..Usage::new(1, 1) }).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().starts_with("gpt-4: no price for audio_output tokens, and the call used 12"), "{error}");
    assert_eq!(cost("gpt-4", Usage::new(0, 0)), 0);
}

#[test]
fn a_call_is_rounded_up_once_not_per_kind() {
    // Ten kinds of a tenth of a nano each: together one nano, rounded per kind they would be ten.
    let mut price = Price::default();
    for kind in ALL {
        price = price.with(kind, Money::from_nanos(100_000)).unwrap();
    }
    let cost = price.quote(&usage_of([1; 10], ServiceTier::Standard)).unwrap();
    assert_eq!((cost.total.nanos(), cost.input.nanos(), cost.output.nanos()), (1, 1, 0));
    let cost = price.quote(&Usage::new(11, 0)).unwrap();
    assert_eq!(cost.total.nanos(), 2);
}

#[test]
fn a_cost_beyond_the_range_is_an_overflow() {
    let price = Price::per_million(Money::MAX, Money::MAX).unwrap();
    assert_eq!(price.quote(&Usage::new(1_000_000, 0)).unwrap().total, Money::MAX);
    for usage in [Usage::new(1_000_001, 0), Usage::new(1_000_000, 1), Usage::new(u64::MAX, u64::MAX)] {
        assert_eq!(price.quote(&usage).unwrap_err().kind(), ErrorKind::Overflow, "{usage:?}");
    }
    let everything = usage_of([u64::MAX; 10], ServiceTier::Standard);
    let price =
        price.with(TokenKind::AudioInput, Money::MAX).unwrap().with(TokenKind::AudioOutput, Money::MAX).unwrap();
    assert_eq!(price.quote(&everything).unwrap_err().kind(), ErrorKind::Overflow);
}

#[test]
fn a_negative_price_is_refused() {
    assert_eq!(Price::per_million(usd("-0.01"), usd("1")).unwrap_err().kind(), ErrorKind::Invalid);
}

#[test]
fn a_model_is_found_behind_its_provider() {
    let prices = sample();
    assert_eq!(prices.get("anthropic/claude-sonnet-4-5"), prices.get("claude-sonnet-4-5"));
    assert_eq!(prices.get("openrouter/openai/gpt-4o"), prices.get("gpt-4o"));
    assert!(prices.get("gpt-4o/").is_none());
    let mut prices = prices;
    let own = Price::per_million(usd("1"), usd("2")).unwrap();
    assert_eq!(prices.insert("azure/gpt-4o", own.clone()), None);
    assert_eq!(prices.get("azure/gpt-4o"), Some(&own));
}

#[test]
fn an_unknown_model_names_the_nearest_ones() {
    let error = sample().cost("claude-sonet-4.5", &Usage::new(1, 1)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnknownModel);
    assert!(error.to_string().contains("did you mean claude-sonnet-4-5"), "{error}");
    assert_eq!(sample().nearest("GPT-4")[0], "gpt-4");
    assert_eq!(sample().nearest("sonnet"), ["claude-sonnet-4-5"]);
    // Of a dated or tagged name what stands before, whole words of it.
    let mut dated = sample();
    for name in ["gpt-4o", "gpt", "gpt-4o-2"] {
        dated.insert(name, Price::per_million(usd("1"), usd("2")).unwrap());
    }
    for asked in ["gpt-4o-2024-08-06", "openai/GPT-4o-2024-08-06", "gpt-4o:extended-2024"] {
        assert_eq!(dated.nearest(asked)[0], "gpt-4o", "{asked}");
    }
    assert!(!dated.nearest("gpt-4o-2024-08-06").contains(&"gpt-4".to_owned()));
    assert!(sample().nearest("zzzzzzzzzzzzzzzz").is_empty());
    assert!(sample().nearest("").is_empty());
    assert!(sample().nearest(&"x".repeat(1_000_000)).is_empty());
}

#[test]
fn what_is_not_priced_is_reported() {
    let text = r#"{
        "sample_spec": {"input_cost_per_token": 0.0},
        "whisper": {"input_cost_per_second": 0.0002833333333333333, "mode": "audio_transcription"},
        "nothing": {},
        "m": {"input_cost_per_token": 1e-06, "output_cost_per_token": null, "output_cost_per_image": 0.04,
              "future_cost_of_thinking": "lots", "max_tokens": 5, "supports_vision": true, "input_cost_per_video": null}
    }"#;
    let prices = PriceCatalogue::from_json(text).unwrap();
    assert_eq!(prices.models().collect::<Vec<_>>(), ["m", "nothing", "whisper"]);
    let reported: Vec<_> = prices.unpriced().iter().map(ToString::to_string).collect();
    let expected = [
        "whisper: `input_cost_per_second` is not priced",
        "whisper: no price per token",
        "nothing: no price per token",
        "m: `output_cost_per_image` is not priced",
        "m: `future_cost_of_thinking` is not priced",
    ];
    assert_eq!(reported, expected);
    assert_eq!(prices.cost("whisper", &Usage::new(1, 0)).unwrap_err().kind(), ErrorKind::Invalid);
    let mut prices = prices;
    prices.insert("whisper", Price::per_million(usd("1"), usd("1")).unwrap());
    assert!(prices.unpriced().iter().all(|unpriced| unpriced.model != "whisper"));
}

#[test]
fn hostile_price_files_are_refused_and_name_model_and_field() {
    for (text, parts) in [
        ("", &["not a price file"][..]),
        ("[]", &["not a price file", "an object"]),
        (r#"{"a": "#, &["not a price file"]),
        (r#"{"a": 3}"#, &["\"a\"", "an object"]),
        (r#"{"a": {}, "a": {}}"#, &["\"a\" occurs twice"]),
        (r#"{"a": {"input_cost_per_token": -1e-6}}"#, &["\"a\"", "`input_cost_per_token`", "negative"]),
        (r#"{"a": {"input_cost_per_token_flex": 1e300}}"#, &["\"a\"", "`input_cost_per_token_flex`", "too large"]),
        (r#"{"a": {"input_cost_per_token": "cheap"}}"#, &["\"a\"", "`input_cost_per_token`", "not a number", "cheap"]),
        (r#"{"a": {"input_cost_per_token": [1]}}"#, &["\"a\"", "`input_cost_per_token`", "not a number"]),
        (
            r#"{"a": {"input_cost_per_token": 1e-6, "input_cost_per_token": 2e-6}}"#,
            &["\"a\"", "contradicts `input_cost_per_token`"],
        ),
        (
            r#"{"a": {"cache_read_input_token_cost": 1e-6, "input_cost_per_token_cache_hit": 2e-6}}"#,
            &["\"a\"", "`input_cost_per_token_cache_hit` contradicts `cache_read_input_token_cost`"],
        ),
    ] {
        let error = PriceCatalogue::from_json(text).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{text}");
        for part in parts {
            assert!(error.to_string().contains(part), "{text}: {error}");
        }
    }
    let deep = format!("{{\"a\": {}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(PriceCatalogue::from_json(&deep).is_err());
    let error = PriceCatalogue::from_file("no/such/prices.json").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
    assert!(error.to_string().contains("no/such/prices.json"), "{error}");
}

/// The price of a kind as a fraction of a nano-dollar per token, kept as (numerator, denominator) and added up the
/// long way: an oracle that shares no code with the crate.
fn oracle(tokens: &[u64; 10], rates: &[i64; 10]) -> i128 {
    let mut whole = 0_i128;
    let mut millionths = 0_i128;
    for (tokens, rate) in tokens.iter().zip(rates) {
        let cost = i128::from(*tokens) * i128::from(*rate);
        whole += cost / 1_000_000;
        millionths += cost % 1_000_000;
    }
    whole + millionths / 1_000_000 + i128::from(millionths % 1_000_000 != 0)
}

/// Failing cases are kept beside this file.
fn config() -> ProptestConfig {
    let persistence = FileFailurePersistence::WithSource("regressions");
    ProptestConfig { failure_persistence: Some(Box::new(persistence)), ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn the_total_is_the_exact_sum_rounded_up_once(
        tokens in prop::array::uniform10(prop_oneof![0_u64..100, 0_u64..5_000_000]),
        rates in prop::array::uniform10(prop_oneof![0_i64..1_000, 0_i64..100_000_000_000]),
    ) {
        let mut price = Price::default();
        for (kind, rate) in ALL.into_iter().zip(rates) {
            price = price.with(kind, Money::from_nanos(rate)).unwrap();
        }
        let cost = price.quote(&usage_of(tokens, ServiceTier::Standard)).unwrap();
        prop_assert_eq!(i128::from(cost.total.nanos()), oracle(&tokens, &rates));
        prop_assert_eq!(cost.input.checked_add(cost.output), Some(cost.total));
        prop_assert!(cost.output >= Money::ZERO);
    }

    #[test]
    fn no_price_file_makes_it_panic(text in "\\{\"a\": \\{\"(in|out)put_cost_per_token\": .{0,20}\\}\\}") {
        drop(PriceCatalogue::from_json(&text));
    }
}

/// Needs a folder with `model-prices.json` (218 models in LiteLLM's layout) and `azure-llm-code-2023.csv` (Azure LLM
/// inference trace 2023): `COSTGUARD_REAL_DATA=<folder> cargo test --test prices -- --ignored`.
#[test]
#[ignore = "set COSTGUARD_REAL_DATA"]
fn real_data_loads_whole_and_prices_a_trace_exactly() {
    let folder = std::env::var("COSTGUARD_REAL_DATA").expect("COSTGUARD_REAL_DATA is not set: name the data folder");
    let prices = PriceCatalogue::from_file(format!("{folder}/model-prices.json")).unwrap();
    assert_eq!(prices.len(), 218);
    let priced = prices.models().filter(|model| prices.cost(model, &Usage::new(1, 0)).is_ok()).count();
    println!("{priced} of {} models priced, {} fields not", prices.len(), prices.unpriced().len());
    let without: Vec<_> = prices.unpriced().iter().filter(|unpriced| unpriced.field.is_none()).collect();
    assert_eq!(without.len(), 1, "{without:?}");
    assert_eq!(without[0].model, "gpt-realtime-whisper");

    let trace = std::fs::read_to_string(format!("{folder}/azure-llm-code-2023.csv")).unwrap();
    let (mut total, mut tokens, mut rows) = (Money::ZERO, (0, 0), 0);
    for row in trace.lines().skip(1) {
        let columns: Vec<_> = row.split(',').collect();
        let usage = Usage::new(columns[1].parse().unwrap(), columns[2].parse().unwrap());
        total = total.checked_add(prices.cost("claude-sonnet-4-5", &usage).unwrap()).unwrap();
        tokens = (tokens.0 + usage.input, tokens.1 + usage.output);
        rows += 1;
    }
    assert_eq!((rows, tokens), (8_819, (18_059_974, 245_896)));
    assert_eq!(total.nanos(), 57_868_362_000);
}
