// Dense blocks from sparse ones, and the nearest points of many queries.

typedef long long i64;

#define THREAD (i64(blockIdx.x) * blockDim.x + threadIdx.x)
#define AHEAD 8

// One thread per stored value of a CSR block: puts it, clipped and scaled, in its place in a dense one.
extern "C" __global__ void spread_scaled(
    i64 n, i64 n_rows, i64 n_columns, const float* data, const int* columns, const int* indptr, const double* mean,
    const double* sd, const double* lower, const double* upper, double* dense
) {
    i64 i = THREAD;
    if (i >= n) return;
    i64 low = 0, high = n_rows;
    while (low < high) {
        i64 middle = (low + high) / 2;
        if (indptr[middle + 1] <= i) low = middle + 1; else high = middle;
    }
    int column = columns[i];
    double value = data[i];
    value = value < lower[column] ? lower[column] : value > upper[column] ? upper[column] : value;
    dense[low * n_columns + column] = (value - mean[column]) / sd[column];
}

// One thread per query: the points of a tile that are nearer than the farthest one kept take their place among those
// kept, nearest first; of equally near points the first one goes first. `products` (points x queries) are those of
// points and queries, `squares` those of points with themselves; what is compared is the squared distance without the
// square of the query. `far` and `near` are kept x queries.
extern "C" __global__ void keep_nearest(
    i64 n_queries, i64 n_points, i64 first, i64 n_kept, const double* __restrict__ products,
    const double* __restrict__ squares, double* __restrict__ far, int* __restrict__ near
) {
    i64 query = THREAD;
    if (query >= n_queries) return;
    double limit = far[(n_kept - 1) * n_queries + query];
    for (i64 start = 0; start < n_points; start += AHEAD) {
        double gap[AHEAD];
#pragma unroll
        for (int j = 0; j < AHEAD; j++) {
            i64 point = start + j < n_points ? start + j : n_points - 1;
            gap[j] = squares[first + point] - 2.0 * products[point * n_queries + query];
        }
#pragma unroll
        for (int j = 0; j < AHEAD; j++) {
            if (start + j < n_points && gap[j] < limit) {
                i64 at = n_kept - 1;
                for (; at > 0 && far[(at - 1) * n_queries + query] > gap[j]; at--) {
                    far[at * n_queries + query] = far[(at - 1) * n_queries + query];
                    near[at * n_queries + query] = near[(at - 1) * n_queries + query];
                }
                far[at * n_queries + query] = gap[j];
                near[at * n_queries + query] = int(first + start + j);
                limit = far[(n_kept - 1) * n_queries + query];
            }
        }
    }
}
