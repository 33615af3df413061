//! A cover: few rows in which any two factors meet in all their values.

/// Rows of values such that any two factors take any two of their values together in at least one row. `levels` counts
/// the values of each factor. Greedy, and the same every time.
pub fn pairs(levels: &[usize]) -> Vec<Vec<usize>> {
    let n = levels.len();
    let first: Vec<usize> = levels.iter().scan(0, |at, l| Some(std::mem::replace(at, *at + l))).collect();
    let all: usize = levels.iter().sum();
    // covered[p * all + q] for values p and q of different factors, counted over all factors.
    let mut covered = vec![false; all * all];
    let mut rows: Vec<Vec<usize>> = Vec::new();
    for i in 0..n {
        for j in i + 1..n {
            for (a, b) in (0..levels[i]).flat_map(|a| (0..levels[j]).map(move |b| (a, b))) {
                if covered[(first[i] + a) * all + first[j] + b] {
                    continue;
                }
                let mut row: Vec<Option<usize>> = vec![None; n];
                (row[i], row[j]) = (Some(a), Some(b));
                for k in 0..n {
                    if row[k].is_some() {
                        continue;
                    }
                    let gain = |value: usize| {
                        let new = |(o, v): (usize, &Option<usize>)| {
                            v.is_some_and(|v| !covered[(first[k] + value) * all + first[o] + v])
                        };
                        row.iter().enumerate().filter(|x| new(*x)).count()
                    };
                    // Of equals the one that turns with the rows, so that ties do not always fall on the first.
                    let turn = rows.len() % levels[k];
                    row[k] = (0..levels[k]).map(|v| (v + turn) % levels[k]).max_by_key(|v| gain(*v));
                }
                let row: Vec<usize> = row.into_iter().flatten().collect();
                for (k, l) in (0..n).flat_map(|k| (0..n).map(move |l| (k, l))).filter(|(k, l)| k != l) {
                    covered[(first[k] + row[k]) * all + first[l] + row[l]] = true;
                }
                rows.push(row);
            }
        }
    }
    rows
}
