//! A plain table, columns as wide as their widest cell.

use unicode_segmentation::UnicodeSegmentation;

pub(super) fn print(head: &[&str], rows: &[Vec<String>]) {
    let mut widths: Vec<usize> = head.iter().map(|cell| width(cell)).collect();
    for row in rows {
        for (at, cell) in row.iter().enumerate() {
            widths[at] = widths[at].max(width(cell));
        }
    }
    print_row(&head.iter().map(|cell| (*cell).to_owned()).collect::<Vec<_>>(), &widths);
    for row in rows {
        print_row(row, &widths);
    }
}

fn print_row(row: &[String], widths: &[usize]) {
    let mut line = String::new();
    for (cell, wanted) in row.iter().zip(widths) {
        line.push_str(cell);
        line.push_str(&" ".repeat(wanted + 2 - width(cell).min(wanted + 2)));
    }
    say!("{}", line.trim_end());
}

/// Columns on a terminal: Chinese, Japanese, Korean and emoji take two.
fn width(cell: &str) -> usize {
    let wide = |grapheme: &str| {
        grapheme.chars().any(|c| {
            matches!(u32::from(c), 0x1100..=0x115f | 0x2e80..=0xa4cf
            | 0xac00..=0xd7a3 | 0xf900..=0xfaff | 0xfe30..=0xfe6f | 0xff00..=0xff60
            | 0x1f300..=0x1faff)
        })
    };
    cell.graphemes(true).map(|grapheme| if wide(grapheme) { 2 } else { 1 }).sum()
}
