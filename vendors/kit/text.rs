//! Cutting text to a vendor's limit without splitting a grapheme.

use unicode_segmentation::UnicodeSegmentation;

use crate::{TextLimit, TextUnit};

/// How long `text` is in the limit's unit.
pub fn measure(text: &str, unit: TextUnit) -> usize {
    match unit {
        TextUnit::Bytes => text.len(),
        TextUnit::Chars => text.chars().count(),
        TextUnit::Utf16 => text.encode_utf16().count(),
    }
}

/// `text` as it is when it fits, else its longest run of whole graphemes that leaves room for an
/// ellipsis, and the ellipsis. Empty when not even that fits.
pub fn truncate(text: &str, limit: TextLimit) -> String {
    // Bytes are never fewer than the other units, so the usual short text is settled by one look.
    if text.len() <= limit.max || measure(text, limit.unit) <= limit.max {
        return text.to_owned();
    }
    const ELLIPSIS: &str = "…";
    let Some(room) = limit.max.checked_sub(measure(ELLIPSIS, limit.unit)) else {
        return String::new();
    };
    let mut used = 0;
    let mut end = 0;
    for grapheme in text.graphemes(true) {
        used += measure(grapheme, limit.unit);
        if used > room {
            break;
        }
        end += grapheme.len();
    }
    let kept = text[..end].trim_end();
    let mut cut = String::with_capacity(kept.len() + ELLIPSIS.len());
    cut.push_str(kept);
    cut.push_str(ELLIPSIS);
    cut
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_family_emoji_is_kept_whole_or_dropped_whole() {
        let text = "ab👨‍👩‍👧‍👦cdef";
        let cut = |max| truncate(text, TextLimit { max, unit: TextUnit::Chars });
        assert_eq!(cut(5), "ab…");
        assert_eq!(cut(10), "ab👨‍👩‍👧‍👦…");
        assert_eq!(cut(100), text);
    }

    proptest! {
        #[test]
        fn never_longer_than_the_limit_and_never_inside_a_grapheme(
            text in "\\PC{0,60}", max in 0usize..40, unit in 0..3
        ) {
            let unit = [TextUnit::Bytes, TextUnit::Chars, TextUnit::Utf16][unit as usize];
            let cut = truncate(&text, TextLimit { max, unit });
            prop_assert!(measure(&cut, unit) <= max);
            let kept = cut.strip_suffix('…').unwrap_or(&cut);
            if cut != text && !kept.is_empty() {
                prop_assert!(text.starts_with(kept));
                let rest = &text[kept.len()..];
                let boundary = text
                    .grapheme_indices(true)
                    .any(|(at, _)| at == kept.len()) || rest.is_empty();
                prop_assert!(boundary);
            }
        }
    }
}
