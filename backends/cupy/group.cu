// The sequence in one cooperative launch: blocks that share Wh exchange h, or backward dz.
//
// grid (blocks that split a head's units, groups that split the batch, heads), all of them resident at once. Block
// (s, g, j) has the units s · units … of head j and the rows N · g / G … of the batch, which it takes ROWS at a time.
// h, or the blocks of dz that Wh feeds, is empty (exchange.cu), h also in its initial slot. What a unit passes from
// round to round is read by the thread that wrote it.
//
// Each team of threads fetches its own operands and continues once they have arrived. If a team is smaller than the
// block, it may write its next sums while other threads still read the last ones. So two sets of sums take turns.

extern "C" __global__ void __launch_bounds__(THREADS, 1)
group(const Real* W, PARAMETERS, int units, int column_threads, int slice, int pitch, long long patience,
      unsigned* gave_up) {
    SHARED_MEMORY(shared);
    const Run run{ARGUMENTS};
    const int in_head = blockIdx.x * units, first = blockIdx.z * K + in_head, own = min(units, K - in_head);
    Tile tile(Run::Weights{of_head(W, K), K, in_head, own}, column_threads, slice, pitch, shared);
    const int begin = first_row_of(N, blockIdx.y), end = first_row_of(N, blockIdx.y + 1);
    Outputs outputs(run, first, own);
    outputs.ask(run, 0, begin, min(ROWS, end - begin));
    if (tile.team < blockDim.x) tile.other = tile.size();

    for (int i = 0; i < run.rounds(); ++i) {
        // Of a long sequence, the results that others will poll for have left L2: the block that will write them asks
        // for them a step ahead, so that the polls don't wait for memory.
        const auto publish_it = [&](int, int, Real* p, Real x) {
            publish(p, never_empty(x));
            if (i + 1 < T) fetch_ahead(p + run.to_next());
        };
        for (int first_row = begin; first_row < end; first_row += ROWS) {
            const int rows = min(ROWS, end - first_row);
            const bool last = first_row + ROWS >= end;
            const int next_row = last ? begin : first_row + ROWS;
            outputs.load(run, i, first_row, rows);
            const bool lost = bring(tile, run.operands(i, first_row, rows), patience);
            tile.meet();  // the operands are in place
            if (run.multiplies(i)) tile.multiply();
            if (__syncthreads_or(lost))  // the slices' sums are in place, and the operands are no longer read
                return give_up(run, i, begin, end, first, own, gave_up);
            // The next inputs arrive while the block waits for others. Requested earlier, they would cost registers.
            Outputs::Inputs in = outputs.ahead;
            outputs.ask(run, i + last, next_row, min(ROWS, end - next_row));
            outputs.finish(run, tile, i, first_row, rows, in, true, publish_it);
            tile.partial += tile.other;
            tile.other = -tile.other;
        }
    }
}
