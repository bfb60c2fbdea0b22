//! What a log says is read as it is meant, and what cannot be read says where and why.

use std::path::Path;

use costguard::model::{Money, Usage};

use super::{CachedTokens, ExtraColumn, Format, Log, LogError, LogOptions, LogRow, Need, Role};

fn open(name: &str, text: &'static str, options: LogOptions) -> anyhow::Result<Log> {
    Log::new(Path::new(name), Box::new(text.as_bytes()), options)
}

fn rows(name: &str, text: &'static str, options: LogOptions) -> Vec<LogRow> {
    let rows: Result<Vec<_>, _> = open(name, text, options).expect("header").collect();
    rows.expect("rows")
}

fn first_error(name: &str, text: &'static str, options: LogOptions) -> String {
    let error = open(name, text, options).expect("header").find_map(Result::err).expect("a bad row");
    match error {
        LogError::Row(bad) => bad.to_string(),
        LogError::Fatal(error) => panic!("fatal: {error}"),
    }
}

fn scope(kind: &str, column: Option<&str>) -> Vec<ExtraColumn> {
    vec![ExtraColumn { option: "--scope", name: kind.to_owned(), column: column.map(str::to_owned) }]
}

#[test]
fn the_azure_trace_is_read_without_any_option() {
    let text = "TIMESTAMP,ContextTokens,GeneratedTokens\r\n2023-11-16 18:17:03.9799600,4808,10\r\n";
    let read = rows("trace.csv", text, LogOptions::default());
    assert_eq!(
        read,
        [LogRow {
            line: 2,
            at_ms: 1_700_158_623_979,
            model: None,
            usage: Some(Usage::new(4808, 10)),
            total_tokens: None,
            cost: None,
            duration_ms: None,
            extras: vec![],
        }]
    );
}

#[test]
fn csv_with_models_users_and_cached_tokens_is_read_by_its_header() {
    let text = "\u{feff}created_at, model ,prompt_tokens,completion_tokens,cached_tokens,user_id,note\n\
                1700000000.5,gpt-4o,1000,50,900,alice,\"two\nlines\"\n\
                \n\
                1700000001,,1000.0,50,,bob,\n";
    let options = LogOptions { extras: scope("user", None), ..LogOptions::default() };
    let read = rows("-", text, options);
    assert_eq!(read[0].usage, Some(Usage { cache_read: 900, ..Usage::new(100, 50) }));
    assert_eq!((read[0].line, read[0].at_ms, read[0].model.as_deref()), (2, 1_700_000_000_500, Some("gpt-4o")));
    assert_eq!(read[0].extras, ["alice"]);
    assert_eq!(read[1].usage, Some(Usage::new(1000, 50)));
    assert_eq!((read[1].line, read[1].model.as_deref()), (5, None));
}

#[test]
fn columns_are_mapped_left_out_and_their_convention_chosen_by_options() {
    let text = "when,in,out,hit,who,reasoning_tokens\n1700000000,100,5,40,alice,9\n";
    let options = LogOptions {
        columns: vec![
            (Role::Timestamp, "when".into()),
            (Role::Input, "in".into()),
            (Role::Output, "OUT".into()),
            (Role::CacheRead, "hit".into()),
            (Role::Reasoning, "-".into()),
        ],
        extras: scope("team", Some("who")),
        ..LogOptions::default()
    };
    let undecided = open("a.csv", text, options.clone()).expect_err("convention unknown").to_string();
    assert!(undecided.contains("--cached-tokens included"), "{undecided}");
    let included = LogOptions { cached: Some(CachedTokens::Included), ..options.clone() };
    assert_eq!(rows("a.csv", text, included)[0].usage, Some(Usage { cache_read: 40, ..Usage::new(60, 5) }));
    let excluded = LogOptions { cached: Some(CachedTokens::Excluded), ..options };
    let read = rows("a.csv", text, excluded);
    assert_eq!(read[0].usage, Some(Usage { cache_read: 40, ..Usage::new(100, 5) }));
    assert_eq!(read[0].extras, ["alice"]);
}

#[test]
fn a_header_without_a_needed_column_says_what_was_looked_for_and_what_is_there() {
    for (text, wanted) in [
        ("when,input_tokens,output_tokens\n", "timestamp"),
        ("timestamp,tokens,output_tokens\n", "prompt_tokens"),
        ("timestamp,input_tokens,words\n", "completion_tokens"),
    ] {
        let message = open("a.csv", text, LogOptions::default()).expect_err("incomplete header").to_string();
        for part in [wanted, text.trim().replace(',', ", ").as_str(), "--column", "a.csv line 1"] {
            assert!(message.contains(part), "{part:?} in {message}");
        }
    }
    let options = LogOptions { extras: scope("user", Some("owner")), ..LogOptions::default() };
    let message = open("a.csv", "ts,input_tokens,output_tokens\n", options).expect_err("no scope column").to_string();
    assert!(message.contains("no column owner (asked for by --scope user=@owner)"), "{message}");
    assert!(open("a.csv", "", LogOptions::default()).expect_err("empty").to_string().contains("is empty"));
}

#[test]
fn a_bad_row_names_file_line_column_and_what_was_found() {
    let head = "ts,input_tokens,output_tokens\n1700000000,1,1\n";
    for (row, expected) in [
        ("soon,1,1\n", "a.csv line 3, column \"ts\": not a time: \"soon\""),
        (
            "1700000000,12x,1\n",
            "a.csv line 3, column \"input_tokens\": not a whole number of tokens, 0 or more: \"12x\"",
        ),
        ("1700000000,1,\n", "a.csv line 3, column \"output_tokens\": the cell is empty"),
        ("1700000000,1\n", "a.csv line 3: the header has 3 columns, this row has 2"),
        ("1700000000,-1,1\n", "a.csv line 3, column \"input_tokens\": not a whole number"),
    ] {
        let text = Box::leak(format!("{head}{row}").into_boxed_str());
        let message = first_error("a.csv", text, LogOptions::default());
        assert!(message.starts_with(expected), "{message}");
    }
    let flat = "{\"ts\":1700000000,\"input_tokens\":1,\"output_tokens\":1}\n{\"ts\":1700000000,\n";
    let message = first_error("a.jsonl", flat, LogOptions::default());
    assert!(message.starts_with("a.jsonl line 2: not JSON, at character 17: EOF"), "{message}");
}

#[test]
fn a_value_that_is_no_text_is_named_as_what_it_is() {
    let options = LogOptions { extras: scope("user", None), ..LogOptions::default() };
    for (user, expected) in [
        ("{\"x\":1}", "the value is an object; name a field of it with --scope user=@user.FIELD"),
        ("[1]", "the value is an array"),
        ("null", "the value is null"),
        ("\" \"", "the value is empty"),
    ] {
        let row = format!("{{\"ts\":1,\"input_tokens\":1,\"output_tokens\":1,\"user\":{user}}}\n");
        let message = first_error("a.jsonl", Box::leak(row.into_boxed_str()), options.clone());
        assert_eq!(message, format!("a.jsonl line 1, column \"user\": {expected}"));
    }
    let text = "{\"ts\":1,\"input_tokens\":null,\"output_tokens\":1,\"user\":\"a\"}\n";
    let message = first_error("a.jsonl", text, options);
    assert_eq!(message, "a.jsonl line 1, column \"input_tokens\": the value is null");
}

#[test]
fn of_two_columns_of_one_name_none_is_taken() {
    let options = LogOptions { extras: scope("user", None), ..LogOptions::default() };
    for (text, name) in [
        ("ts,user,input_tokens,output_tokens,user\n", "user"),
        ("ts,user,input_tokens,output_tokens,input_tokens\n", "input_tokens"),
    ] {
        let message = open("a.csv", text, options.clone()).expect_err("two of a name").to_string();
        assert!(message.starts_with(&format!("a.csv line 1: two columns are named {name}: ")), "{message}");
    }
    assert!(open("a.csv", "ts,user,input_tokens,output_tokens,note,note\n", options).is_ok(), "nobody looks at these");
}

#[test]
fn reading_goes_on_after_a_bad_row() {
    let text = "ts,input_tokens,output_tokens\n1,1,1\n2,1\n3,x,1\n4,1,1\n";
    let read: Vec<_> = open("a.csv", text, LogOptions::default()).expect("header").map(|row| row.ok()).collect();
    assert_eq!(read.iter().map(Option::is_some).collect::<Vec<_>>(), [true, false, false, true]);
}

#[test]
fn flat_json_lines_follow_the_same_names_as_csv() {
    let text = "{\"timestamp\":\"2024-05-01T12:00:00Z\",\"model\":\"claude-sonnet-4-5\",\"input_tokens\":5,\
                \"output_tokens\":7,\"cache_read_input_tokens\":100,\"cache_creation_input_tokens\":20,\
                \"metadata\":{\"user_id\":\"u1\"},\"cost\":1.2e-5}\n";
    let options = LogOptions { extras: scope("user", Some("metadata.user_id")), ..LogOptions::default() };
    let read = rows("log", text, options);
    assert_eq!(read[0].usage, Some(Usage { cache_read: 100, cache_write_5m: 20, ..Usage::new(5, 7) }));
    assert_eq!(read[0].extras, ["u1"]);
    assert_eq!(read[0].cost, Some(Money::from_nanos(12_000)));
}

#[test]
fn whole_openai_responses_are_read_with_cached_tokens_inside_the_prompt() {
    let text = "{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion\",\"created\":1700000000,\"model\":\"gpt-4o\",\
                \"usage\":{\"prompt_tokens\":2006,\"completion_tokens\":300,\"total_tokens\":2306,\
                \"prompt_tokens_details\":{\"cached_tokens\":1920},\
                \"completion_tokens_details\":{\"reasoning_tokens\":100}},\"user\":\"alice\"}\n";
    let options = LogOptions { extras: scope("user", None), ..LogOptions::default() };
    let read = rows("log.jsonl", text, options);
    assert_eq!(read[0].usage, Some(Usage { cache_read: 1920, reasoning: 100, ..Usage::new(86, 200) }));
    assert_eq!((read[0].at_ms, read[0].model.as_deref()), (1_700_000_000_000, Some("gpt-4o")));
    assert_eq!(read[0].extras, ["alice"]);
}

#[test]
fn whole_anthropic_responses_are_read_with_cached_tokens_beside_the_input() {
    let text = "{\"timestamp\":\"2024-05-01T12:00:00Z\",\"type\":\"assistant\",\"message\":{\"type\":\"message\",\
                \"model\":\"claude-sonnet-4-5\",\"usage\":{\"input_tokens\":50,\"output_tokens\":503,\
                \"cache_read_input_tokens\":100000,\"cache_creation_input_tokens\":248}}}\n";
    let read = rows("log.jsonl", text, LogOptions::default());
    assert_eq!(read[0].usage, Some(Usage { cache_read: 100_000, cache_write_5m: 248, ..Usage::new(50, 503) }));
    assert_eq!(read[0].model.as_deref(), Some("claude-sonnet-4-5"));
}

#[test]
fn a_bare_usage_object_with_a_time_is_a_call() {
    let text = "{\"ts\":1,\"model\":\"m\",\"input_tokens\":75,\"output_tokens\":9,\
                \"input_tokens_details\":{\"cached_tokens\":60}}\n";
    let read = rows("log.jsonl", text, LogOptions::default());
    assert_eq!(read[0].usage, Some(Usage { cache_read: 60, ..Usage::new(15, 9) }));
}

#[test]
fn the_format_follows_the_option_then_the_extension_then_the_first_byte() {
    let json = " {\"ts\":1,\"input_tokens\":1,\"output_tokens\":1}\n";
    assert_eq!(rows("log.txt", json, LogOptions::default()).len(), 1);
    assert!(open("log.csv", json, LogOptions::default()).is_err());
    let forced = LogOptions { format: Some(Format::Jsonl), ..LogOptions::default() };
    assert_eq!(rows("log.csv", json, forced).len(), 1);
    let array = open("log.json", "[{}]", LogOptions::default()).expect_err("array").to_string();
    assert!(array.contains("jq -c"), "{array}");
}

#[test]
fn a_recorded_cost_is_enough_when_nothing_is_to_be_priced() {
    let options = LogOptions { need: Need::Cost, ..LogOptions::default() };
    let read = rows("a.csv", "ts,spend\n1,0.25\n", options.clone());
    assert_eq!((read[0].cost, read[0].usage), (Some(Money::from_nanos(250_000_000)), None));
    let message = open("a.csv", "ts,input_tokens\n", options).expect_err("no cost").to_string();
    assert!(message.contains("--prices FILE"), "{message}");
}

#[test]
fn a_model_is_needed_in_every_row_when_none_is_given_for_all() {
    let options = LogOptions { need_model: true, ..LogOptions::default() };
    let message = open("a.csv", "ts,input_tokens,output_tokens\n", options.clone()).expect_err("no model").to_string();
    assert!(message.contains("--model NAME"), "{message}");
    let message = first_error("a.csv", "ts,model,input_tokens,output_tokens\n1,,1,1\n", options);
    assert_eq!(message, "a.csv line 2, column \"model\": the cell is empty");
}

#[test]
fn fields_inside_a_response_can_be_mapped_by_their_path() {
    let text = "{\"meta\":{\"at\":1},\"usage\":{\"prompt_tokens\":10,\"completion_tokens\":2,\"hits\":3}}\n";
    let mut options = LogOptions {
        columns: vec![
            (Role::Timestamp, "meta.at".into()),
            (Role::Input, "usage.prompt_tokens".into()),
            (Role::Output, "usage.completion_tokens".into()),
            (Role::CacheRead, "usage.hits".into()),
        ],
        ..LogOptions::default()
    };
    assert_eq!(rows("a.jsonl", text, options.clone())[0].usage, Some(Usage { cache_read: 3, ..Usage::new(7, 2) }));
    options.columns[0].1 = "meta.when".into();
    let message = first_error("a.jsonl", text, options);
    assert!(
        message.contains("column \"meta.when\": no value here (asked for by --column timestamp=meta.when)"),
        "{message}"
    );
}
