// Pareto dominance and the archive of non-dominated points; all objectives are minimised. Plain values; not thread
// safe.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace finch::search {

// a is no worse anywhere and better somewhere. REQUIRES: same size.
bool dominates(std::span<const double> a, std::span<const double> b);

// Indices into `points`, front by front (Deb 2002, fast non-dominated sorting).
std::vector<std::vector<std::size_t>> non_dominated_sort(std::span<const std::vector<double>> points);

// Crowding distance (Deb 2002) of each of `points`; the extremes get infinity.
std::vector<double> crowding_distance(std::span<const std::vector<double>> points);

// Volume dominated by `points` up to `reference_point`; points beyond it count nothing.
double hypervolume(std::span<const std::vector<double>> points, std::span<const double> reference_point);

struct ArchiveEntry {
  std::uint64_t id = 0;
  std::vector<double> objectives;
};

// Keeps the mutually non-dominated entries of all that were inserted.
class ParetoFront {
 public:
  // False, and nothing changes, when an entry dominates or equals the new one.
  bool insert(ArchiveEntry entry);
  std::span<const ArchiveEntry> entries() const { return entries_; }

 private:
  std::vector<ArchiveEntry> entries_;  // sorted by the first objective
};

}  // namespace finch::search
