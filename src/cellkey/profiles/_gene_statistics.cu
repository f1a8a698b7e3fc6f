// Statistics of groups of cells, gene by gene, as _kernels.py and _resample_kernels.py compute them on the CPU.
//
// A sum of fractions is taken by one thread, in the order of the CPU, and products are not fused with sums; what many
// threads add up are whole numbers. So results do not depend on how threads are scheduled.

typedef long long i64;
typedef unsigned long long u64;
typedef unsigned int u32;

#define THREAD (i64(blockIdx.x) * blockDim.x + threadIdx.x)
#define AUTO 0
#define NONZERO 1
#define ALL 2
#define POSITIVE_BIT 0x80000000u

// Sorted keys: the gene (or gene and group) above, below the bits of a float in an order that is that of the values.
__device__ u32 ordered_bits(float value) {
    u32 bits = __float_as_uint(value);
    return bits & POSITIVE_BIT ? ~bits : bits | POSITIVE_BIT;
}

__device__ double value_of(u64 key) {
    u32 bits = u32(key);
    return __uint_as_float(bits & POSITIVE_BIT ? bits & ~POSITIVE_BIT : ~bits);
}

// First place from low to high whose key is not below the one sought.
__device__ i64 lower_bound(const u64* keys, i64 low, i64 high, u64 sought) {
    while (low < high) {
        i64 middle = (low + high) / 2;
        if (keys[middle] < sought) low = middle + 1; else high = middle;
    }
    return low;
}

// The non-zero values of a gene, or of a group in a gene, in ascending order, and the zeros that belong among them.
struct Values {
    const u64* keys;
    i64 n, n_negative, n_zero;

    __device__ double at(i64 k) const {
        if (k < n_negative) return value_of(keys[k]);
        if (k < n_negative + n_zero) return 0.0;
        return value_of(keys[k - n_zero]);
    }

    __device__ double quantile(double q) const {
        i64 total = n + n_zero;
        double position = q * (total - 1);
        i64 k = i64(floor(position));
        double below = at(k);
        if (k + 1 >= total) return below;
        return below + (at(k + 1) - below) * (position - k);
    }

    __device__ double threshold(double q, int basis, double least) const {
        double share = double(n_negative + n_zero) / double(n + n_zero);
        if (n > 0 && (basis == NONZERO || (basis == AUTO && share < 0.5))) {
            Values stored = {keys, n, n_negative, 0};
            return stored.quantile(q);
        }
        if (n == n_negative && basis != ALL) return least;
        double over_all = quantile(q);
        if (basis != AUTO) return over_all;
        double smallest = value_of(keys[n_negative]);
        return over_all > smallest ? over_all : smallest;
    }

    __device__ i64 count_from(double limit) const {
        i64 low = 0, high = n;
        while (low < high) {
            i64 middle = (low + high) / 2;
            if (value_of(keys[middle]) < limit) low = middle + 1; else high = middle;
        }
        return n - low + (limit <= 0.0 ? n_zero : 0);
    }
};

__device__ Values values_between(const u64* keys, i64 start, i64 stop, u64 segment, i64 n_cells) {
    i64 n_negative = lower_bound(keys, start, stop, segment << 32 | POSITIVE_BIT) - start;
    Values found = {keys + start, stop - start, n_negative, n_cells - (stop - start)};
    return found;
}

// One thread per value of a block of genes (CSC): its group, and its keys by gene and by gene and group. Values of
// cells without a group and stored zeros go behind all others.
extern "C" __global__ void label_values(
    i64 n, i64 n_genes, i64 n_groups, const float* data, const int* rows, const i64* indptr, const i64* codes,
    int* group_of, u64* by_value, u64* by_group
) {
    i64 i = THREAD;
    if (i >= n) return;
    i64 low = 0, high = n_genes;
    while (low < high) {
        i64 middle = (low + high) / 2;
        if (indptr[middle + 1] <= i) low = middle + 1; else high = middle;
    }
    i64 group = data[i] != 0.0f ? codes[rows[i]] : -1;
    u64 bits = ordered_bits(data[i]);
    group_of[i] = int(group);
    by_value[i] = group < 0 ? u64(n_genes) << 32 : u64(low) << 32 | bits;
    by_group[i] = group < 0 ? u64(n_genes * n_groups) << 32 : u64(low * n_groups + group) << 32 | bits;
}

// One thread per segment and one more: where it starts among sorted keys.
extern "C" __global__ void segment_starts(i64 n_segments, i64 n, const u64* keys, i64* starts) {
    i64 segment = THREAD;
    if (segment <= n_segments) starts[segment] = lower_bound(keys, 0, n, u64(segment) << 32);
}

// One thread per gene and group: the sum of its values in the order of cells, and how many are above zero.
extern "C" __global__ void group_sums(
    i64 n_genes, i64 n_groups, const float* data, const i64* indptr, const int* group_of, double* sums, i64* above
) {
    i64 at = THREAD;
    if (at >= n_genes * n_groups) return;
    i64 gene = at / n_groups;
    int group = int(at % n_groups);
    double sum = 0.0;
    i64 n_above = 0;
    for (i64 i = indptr[gene]; i < indptr[gene + 1]; i++) {
        if (group_of[i] == group) {
            sum += data[i];
            n_above += data[i] > 0.0f;
        }
    }
    sums[at] = sum;
    above[at] = n_above;
}

// One thread per sorted value: adds twice its midrank over all cells, a whole number, to its gene and group.
extern "C" __global__ void add_ranks(
    i64 n, i64 n_genes, i64 n_groups, i64 n_cells, const u64* by_value, const i64* starts, const int* group_sorted,
    u64* twice_ranks
) {
    i64 i = THREAD;
    if (i >= n || group_sorted[i] < 0) return;
    u64 key = by_value[i];
    i64 gene = i64(key >> 32), start = starts[gene], stop = starts[gene + 1];
    i64 first = i, last = i + 1;
    if (i > start && by_value[i - 1] == key) first = lower_bound(by_value, start, i, key);
    if (i + 1 < stop && by_value[i + 1] == key) last = lower_bound(by_value, i, stop, key + 1);
    i64 before = u32(key) & POSITIVE_BIT ? n_cells - (stop - start) : 0;
    u64 twice = u64(2 * (before - start) + first + last + 1);
    atomicAdd(twice_ranks + gene * n_groups + group_sorted[i], twice);
}

// One thread per gene: thresholds, and mean, median, population standard deviation, share of cells not above zero and
// tie sum over all cells.
extern "C" __global__ void gene_overall(
    i64 n_genes, i64 n_groups, i64 n_quantiles, i64 n_cells, int basis, double least, const float* data,
    const i64* indptr, const int* group_of, const u64* by_value, const i64* starts, const double* sums,
    const double* quantiles, double* thresholds, double* overall
) {
    i64 gene = THREAD;
    if (gene >= n_genes) return;
    Values values = values_between(by_value, starts[gene], starts[gene + 1], u64(gene), n_cells);
    double sum = 0.0;
    for (i64 g = 0; g < n_groups; g++) sum += sums[gene * n_groups + g];
    double mean = sum / n_cells;
    double squares = values.n_zero * mean * mean;
    for (i64 i = indptr[gene]; i < indptr[gene + 1]; i++) {
        if (group_of[i] >= 0) squares += (data[i] - mean) * (data[i] - mean);
    }
    double absent = double(values.n_zero);
    double ties = absent * absent * absent - absent;
    for (i64 first = 0; first < values.n;) {
        i64 last = first + 1;
        while (last < values.n && values.keys[last] == values.keys[first]) last++;
        double t = double(last - first);
        ties += t * t * t - t;
        first = last;
    }
    for (i64 k = 0; k < n_quantiles; k++) {
        thresholds[gene * n_quantiles + k] = values.threshold(quantiles[k], basis, least);
    }
    double* out = overall + gene * 5;
    out[0] = mean;
    out[1] = values.quantile(0.5);
    out[2] = sqrt(squares / n_cells);
    out[3] = double(values.n_negative + values.n_zero) / n_cells;
    out[4] = ties;
}

// One thread per gene and group: median, rank sum with its zeros, and cells at or above each threshold.
extern "C" __global__ void group_statistics(
    i64 n_genes, i64 n_groups, i64 n_quantiles, i64 n_cells, const u64* by_value, const i64* gene_starts,
    const u64* by_group, const i64* starts, const i64* sizes, const u64* twice_ranks, const double* thresholds,
    double* medians, double* rank_sums, i64* positive
) {
    i64 at = THREAD;
    if (at >= n_genes * n_groups) return;
    i64 gene = at / n_groups, group = at % n_groups;
    Values of_gene = values_between(by_value, gene_starts[gene], gene_starts[gene + 1], u64(gene), n_cells);
    Values values = values_between(by_group, starts[at], starts[at + 1], u64(at), sizes[group]);
    medians[at] = sizes[group] > 0 ? values.quantile(0.5) : 0.0;
    double zero_rank = of_gene.n_negative + (of_gene.n_zero + 1) / 2.0;
    rank_sums[at] = values.n_zero * zero_rank + twice_ranks[at] / 2.0;
    for (i64 k = 0; k < n_quantiles; k++) {
        positive[(gene * n_quantiles + k) * n_groups + group] = values.count_from(thresholds[gene * n_quantiles + k]);
    }
}

// --- resamples ---

__device__ i64 stored_place(i64 k, i64 n_negative, i64 n_zero) {
    if (k < n_negative) return k;
    return k < n_negative + n_zero ? -1 : k - n_zero;
}

__device__ double rank_z(double ranks, double m, double total, double ties) {
    if (m < 2 || total <= m) return 0.0;
    double correction = 1.0 - ties / (total * total * total - total);
    double variance = correction * m * (total - m) * (total + 1) / 12.0;
    if (variance <= 0 || correction <= 1e-12) return 0.0;
    return (ranks - m * (total + 1) / 2.0) / sqrt(variance);
}

// One thread per gene and resample: the statistics of all groups when each cell occurs as often as its weight says.
// The scratch arrays are genes x groups x resamples and start as zeros.
extern "C" __global__ void resample_genes(
    i64 n_genes, i64 n_groups, i64 n_times, i64 n_weights, int basis, double least, double quantile,
    const u64* by_value, const i64* starts, const int* cells, const int* group_sorted, const unsigned char* weights,
    const i64* sizes, double* sums, i64* stored, i64* negative, i64* lower, i64* upper, i64* passed_of, double* ranks,
    double* low_half, double* high_half, float* result, float* overall
) {
    i64 thread = THREAD;
    if (thread >= n_genes * n_times) return;
    i64 gene = thread / n_times, b = thread % n_times;
    const u64* keys = by_value + starts[gene];
    const int* cell = cells + starts[gene];
    const int* group = group_sorted + starts[gene];
    i64 n = starts[gene + 1] - starts[gene];
    i64 n_negative = lower_bound(keys, 0, n, u64(gene) << 32 | POSITIVE_BIT);
    i64 origin = gene * n_groups * n_times + b;
#define OWN(g) (origin + (g) * n_times)
#define COPIES(i) i64(weights[i64(cell[i]) * n_times + b])

    double centre = 0.0;
    for (i64 i = 0; i < n; i++) centre += value_of(keys[i]);
    centre /= n_weights > 1 ? n_weights : 1;
    double squares = 0.0;
    for (i64 i = 0; i < n; i++) {
        double value = value_of(keys[i]);
        i64 w = COPIES(i), own = OWN(group[i]);
        sums[own] += w * value;
        stored[own] += w;
        squares += w * ((value - centre) * (value - centre));
        if (i < n_negative) negative[own] += w;
    }
    i64 n_cells = 0, n_stored = 0, n_below = 0;
    double total = 0.0;
    for (i64 g = 0; g < n_groups; g++) {
        i64 m = sizes[g * n_times + b], own = OWN(g);
        n_cells += m;
        n_stored += stored[own];
        n_below += negative[own];
        total += sums[own];
        i64 absent = m - stored[own];
        lower[own] = m > 0 ? stored_place((m - 1) / 2, negative[own], absent) : -1;
        upper[own] = m > 0 ? stored_place(m / 2, negative[own], absent) : -1;
    }
    i64 n_zero = n_cells - n_stored;
    float* out = overall + gene * n_times + b;
    i64 step = n_genes * n_times;
    i64 places[4] = {-1, -1, -1, -1};
    double shares[2] = {0.0, 0.0}, found[4] = {0.0, 0.0, 0.0, 0.0};
    bool over_stored = false;
    if (n_cells > 0) {
        double mean = total / n_cells;
        double variance = (squares + n_zero * centre * centre) / n_cells - (mean - centre) * (mean - centre);
        double share = double(n_below + n_zero) / n_cells;
        out[0] = float(mean);
        out[2 * step] = float(sqrt(variance > 0.0 ? variance : 0.0));
        out[3 * step] = float(share);
        over_stored = n_stored > 0 && (basis == NONZERO || (basis == AUTO && share < 0.5));
        for (int which = 0; which < 2; which++) {
            i64 absent = which == 0 && over_stored ? 0 : n_zero;
            i64 m = n_stored + absent;
            double position = (which == 0 ? quantile : 0.5) * (m - 1);
            i64 k = i64(floor(position));
            places[2 * which] = stored_place(k, n_below, absent);
            places[2 * which + 1] = stored_place(k + 1 < m ? k + 1 : m - 1, n_below, absent);
            shares[which] = position - k;
        }
    }
    // Pass the sorted values once: pick up quantiles and medians, and sum midranks and ties.
    double absent_cells = double(n_zero);
    double ties = absent_cells * absent_cells * absent_cells - absent_cells;
    i64 passed = 0;
    for (i64 first = 0; first < n;) {
        double value = value_of(keys[first]);
        i64 last = first, tied = 0;
        while (last < n && keys[last] == keys[first]) tied += COPIES(last++);
        double t = double(tied);
        double rank = passed + (first < n_negative ? 0 : n_zero) + (t + 1) / 2;
        ties += t * t * t - t;
        for (int k = 0; k < 4; k++) {
            if (passed <= places[k] && places[k] < passed + tied) found[k] = value;
        }
        for (i64 i = first; i < last; i++) {
            i64 w = COPIES(i), own = OWN(group[i]), end = passed_of[own] + w;
            ranks[own] += w * rank;
            if (passed_of[own] <= lower[own] && lower[own] < end) low_half[own] = value;
            if (passed_of[own] <= upper[own] && upper[own] < end) high_half[own] = value;
            passed_of[own] = end;
        }
        passed += tied;
        first = last;
    }
    double threshold = found[0] + (found[1] - found[0]) * shares[0];
    out[step] = float(found[2] + (found[3] - found[2]) * shares[1]);
    if (basis != ALL && !over_stored && n_stored == n_below) {
        threshold = least;
    } else if (basis == AUTO && !over_stored) {
        i64 i = n_negative;
        while (COPIES(i) == 0) i++;
        double smallest = value_of(keys[i]);
        threshold = threshold > smallest ? threshold : smallest;
    }
    out[4 * step] = float(threshold);
    for (i64 g = 0; g < n_groups; g++) passed_of[OWN(g)] = 0;
    for (i64 i = n - 1; i >= 0 && value_of(keys[i]) >= threshold; i--) passed_of[OWN(group[i])] += COPIES(i);

    i64 stride = n_genes * n_groups * n_times;
    for (i64 g = 0; g < n_groups; g++) {
        i64 own = OWN(g);
        double m = double(sizes[g * n_times + b]);
        if (m == 0) continue;
        double absent = m - stored[own];
        result[own] = float(sums[own] / m);
        result[own + stride] = float((low_half[own] + high_half[own]) / 2);
        result[own + 2 * stride] = float((stored[own] - negative[own]) / m);
        result[own + 3 * stride] = float((passed_of[own] + (threshold <= 0.0 ? absent : 0.0)) / m);
        double sum = ranks[own] + absent * (n_below + (n_zero + 1) / 2.0);
        result[own + 4 * stride] = float(rank_z(sum, m, double(n_cells), ties));
    }
}
