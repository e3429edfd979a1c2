//! Values for the variables of a Xiaomi message template.
//!
//! A value has 1 to 128 characters, is not only blanks, and holds neither emoji nor other symbols
//! (Unicode class So) nor unassigned code points; otherwise the message is refused
//! (<https://dev.mi.com/xiaomihyperos/documentation/detail?pId=2314>, 2026-06-02).

use icu_normalizer::ComposingNormalizerBorrowed;
use icu_properties::CodePointMapData;
use icu_properties::props::GeneralCategory;

use crate::kit::text;
use crate::{TextLimit, TextUnit};

const MAX: TextLimit = TextLimit { max: 128, unit: TextUnit::Chars };

/// `text` without what a template refuses, blanks collapsed, cut to the limit; `empty_text` when
/// nothing is left.
pub(super) fn value(text: &str, empty_text: &str) -> String {
    let composed = ComposingNormalizerBorrowed::new_nfc().normalize(text);
    let mut kept = String::with_capacity(composed.len());
    for c in composed.chars() {
        if c.is_whitespace() {
            if !kept.is_empty() && !kept.ends_with(' ') {
                kept.push(' ');
            }
        } else if !is_refused(c) {
            kept.push(c);
        }
    }
    // The ellipsis of a cut is punctuation and may stay.
    let cut = text::truncate(kept.trim_end(), MAX);
    if cut.is_empty() { empty_text.to_owned() } else { cut }
}

/// Whether a template refuses this character. What joins and colours emoji goes with them.
pub(super) fn is_refused(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_control();
    }
    let joins_emoji =
        matches!(c, '\u{200d}' | '\u{fe00}'..='\u{fe0f}' | '\u{1f3fb}'..='\u{1f3ff}' | '\u{20e3}');
    joins_emoji
        || matches!(
            CodePointMapData::<GeneralCategory>::new().get(c),
            GeneralCategory::OtherSymbol
                | GeneralCategory::Unassigned
                | GeneralCategory::PrivateUse
                | GeneralCategory::Surrogate
                | GeneralCategory::Control
        )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn words_of_every_script_stay_and_symbols_go() {
        let table = [
            ("小红", "小红"),
            ("吃了吗？", "吃了吗？"),
            ("नमस्ते", "नमस्ते"),
            ("สวัสดี", "สวัสดี"),
            ("50 € + 5 % = ok", "50 € + 5 % = ok"),
            ("e\u{301}té", "été"),
            ("hi 👨‍👩‍👧‍👦 there", "hi there"),
            ("👍🏽ok❤️", "ok"),
            ("1\u{fe0f}\u{20e3} first", "1 first"),
            ("© ™ ★ x", "x"),
            ("a\n\t b\u{7}", "a b"),
            ("\u{e000}\u{378}x", "x"),
            ("😀", "[表情]"),
            ("   ", "[表情]"),
            ("", "[表情]"),
        ];
        for (text, expected) in table {
            assert_eq!(value(text, "[表情]"), expected, "{text}");
        }
    }

    #[test]
    fn a_long_value_is_cut_to_128_characters() {
        let cut = value(&"全".repeat(200), "");
        assert_eq!(cut.chars().count(), 128);
        assert!(cut.ends_with('…'));
    }

    proptest! {
        #[test]
        fn a_value_is_always_one_that_the_vendor_takes(text in "\\PC{0,200}") {
            let value = value(&text, "[表情]");
            let length = value.chars().count();
            prop_assert!((1..=128).contains(&length));
            prop_assert!(!value.chars().any(is_refused) && !value.trim().is_empty());
        }
    }
}
