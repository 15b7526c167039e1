//! Elastic tab stops: cells that stand under each other in neighbouring lines get one width, as Go's `text/tabwriter` does.

/// Spacing of columns.
#[derive(Clone, Copy, Debug)]
pub struct Spacing {
    /// Least width of a column, in characters.
    pub least: usize,
    /// Blanks after the widest cell.
    pub padding: usize,
}

/// Descriptions as kubectl prints them.
pub const DESCRIPTION: Spacing = Spacing { least: 0, padding: 2 };

/// Lays out text whose cells end with tabs; the last cell of a line belongs to no column.
pub fn align(text: &str, spacing: Spacing) -> String {
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split('\t').collect()).collect();
    let mut out = String::with_capacity(text.len() * 2);
    let mut widths = Vec::new();
    block(&lines, spacing, &mut widths, &mut out);
    out
}

fn block(lines: &[Vec<&str>], spacing: Spacing, widths: &mut Vec<usize>, out: &mut String) {
    let column = widths.len();
    let in_column = |line: &Vec<&str>| line.len() > column + 1;
    let mut start = 0;
    while start < lines.len() {
        if !in_column(&lines[start]) {
            write_line(&lines[start], widths, out);
            start += 1;
            continue;
        }
        let length = lines[start..].iter().take_while(|line| in_column(line)).count();
        let run = &lines[start..start + length];
        let widest = run.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
        widths.push((widest + spacing.padding).max(spacing.least));
        block(run, spacing, widths, out);
        widths.pop();
        start += length;
    }
}

fn write_line(cells: &[&str], widths: &[usize], out: &mut String) {
    for (index, cell) in cells.iter().enumerate() {
        out.push_str(cell);
        if index + 1 < cells.len() {
            let width = widths.get(index).copied().unwrap_or(0);
            out.extend(std::iter::repeat_n(' ', width.saturating_sub(cell.chars().count())));
        }
    }
    out.truncate(out.trim_end_matches(' ').len());
    out.push('\n');
}

/// The text without characters that would steer a terminal.
pub fn escaped(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\u{1b}' => '\u{241b}',
            c if c.is_control() && !matches!(c, '\n' | '\t') => '\u{fffd}',
            c => c,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_of_a_table_have_one_width() {
        let text = align("NAME\tAGE\na-long-name\t5m\n", Spacing { least: 6, padding: 3 });
        assert_eq!(text, "NAME          AGE\na-long-name   5m\n");
    }

    #[test]
    fn a_line_without_cells_ends_a_block() {
        let text = align("Name:\tx\nNamespace:\ty\nSpec:\n  A:\t1\n", DESCRIPTION);
        assert_eq!(text, "Name:       x\nNamespace:  y\nSpec:\n  A:  1\n");
    }

    #[test]
    fn no_escape_reaches_a_terminal() {
        assert!(!escaped("a\u{1b}[31m\u{7}b").contains(['\u{1b}', '\u{7}']));
    }
}
