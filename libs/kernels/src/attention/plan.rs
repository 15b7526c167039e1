//! Which rows of a step are computed together, and what they see.

use std::ops::Range;

use super::{Attention, BLOCK, Row, TILE_QUERIES};

/// Rows beside each other that belong to one cache.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Tile {
    pub rows: Range<usize>,
    /// The positions that each of the rows sees.
    pub visible: Vec<Range<usize>>,
    /// From the first to the last position that any of the rows sees.
    pub span: Range<usize>,
}

impl Tile {
    /// The blocks in which its rows see anything.
    pub fn blocks(&self) -> Range<usize> {
        self.span.start / BLOCK..self.span.end.div_ceil(BLOCK)
    }
}

/// The positions that a row sees: those up to its own, the last `window` of them.
pub(super) fn visible(position: usize, window: Option<usize>) -> Range<usize> {
    let end = position + 1;
    window.map_or(0, |window| end.saturating_sub(window.max(1)))..end
}

/// Tiles of as many rows as share reads well, but so few that every thread gets some.
pub(super) fn tiles(attention: &Attention, rows: &[Row], threads: usize) -> Vec<Tile> {
    let most = (TILE_QUERIES / (attention.heads / attention.kv_heads)).max(1);
    let most = (rows.len() * attention.kv_heads / (4 * threads)).clamp(1, most);
    let mut tiles: Vec<Tile> = Vec::new();
    for (i, row) in rows.iter().enumerate() {
        let seen = visible(row.position, attention.window);
        match tiles.last_mut() {
            Some(tile) if tile.rows.len() < most && rows[tile.rows.start].cache == row.cache => {
                tile.rows.end = i + 1;
                tile.span = tile.span.start.min(seen.start)..tile.span.end.max(seen.end);
                tile.visible.push(seen);
            }
            _ => tiles.push(Tile { rows: i..i + 1, visible: vec![seen.clone()], span: seen }),
        }
    }
    tiles
}

#[cfg(test)]
mod tests {
    use super::*;

    const ATTENTION: Attention = Attention {
        heads: 8,
        kv_heads: 2,
        key_length: 64,
        value_length: 64,
        scale: 1.0,
        softcap: None,
        window: Some(300),
    };

    #[test]
    fn a_window_counts_the_own_position() {
        assert_eq!(visible(9, Some(4)), 6..10);
        assert_eq!(visible(2, Some(4)), 0..3);
        assert_eq!(visible(2, None), 0..3);
        assert_eq!(visible(2, Some(0)), 2..3);
    }

    #[test]
    fn a_tile_ends_where_the_cache_changes_or_it_is_full() {
        let rows: Vec<Row> = (0..40)
            .map(|i| Row { cache: 0, position: 500 + i })
            .chain([Row { cache: 1, position: 7 }, Row { cache: 0, position: 540 }])
            .collect();
        let tiles = tiles(&ATTENTION, &rows, 1);
        let shapes: Vec<_> = tiles.iter().map(|t| (t.rows.clone(), t.span.clone(), t.blocks())).collect();
        assert_eq!(
            shapes,
            [
                (0..16, 201..516, 0..3),
                (16..32, 217..532, 0..3),
                (32..40, 233..540, 0..3),
                (40..41, 0..8, 0..1),
                (41..42, 241..541, 0..3),
            ]
        );
        assert_eq!(tiles[0].visible[15], 216..516);
    }

    #[test]
    fn many_threads_get_small_tiles() {
        let rows: Vec<Row> = (0..40).map(|position| Row { cache: 0, position }).collect();
        assert_eq!(tiles(&ATTENTION, &rows, 5).len(), 10);
        assert_eq!(tiles(&ATTENTION, &rows, 100).len(), 40);
    }
}
