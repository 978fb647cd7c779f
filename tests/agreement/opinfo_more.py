"""PyTorch's functions that are operators, methods or a line of ours, and those that we do not have, with the reason."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import chainrule as cr
from chainrule.errors import NotSupported
from chainrule.ir.types import bool_

Function = Callable[..., Any]


def element(x: Any, index: Any) -> Any:
    if getattr(index, "dtype", None) == bool_:
        raise NotSupported("a mask: the size depends on data")
    return x[index]


def same(x: Any) -> Any:
    return cr.asarray(x)


def cast(dtype: str) -> Function:
    return lambda x: x.astype(dtype)


def swapped(f: Function) -> Function:
    return lambda x, y: f(y, x)


def picked(x: Any, dim: int, index: int) -> Any:
    """x at one place of an axis."""
    return x[(*(slice(None),) * (dim % x.ndim), index)]


def cut(x: Any, dim: int, start: Any, length: int) -> Any:
    """length elements of an axis from a start that may count from the end."""
    start = int(start) % x.shape[dim] if int(start) < 0 else int(start)
    return x[(*(slice(None),) * (dim % x.ndim), slice(start, start + length))]


def parts(x: Any, chunks: int, dim: int = 0) -> Any:
    """PyTorch's chunk: as many parts of one size as fit, the last the shortest."""
    size = -(-x.shape[dim] // chunks)
    return cr.split(x, list(range(size, x.shape[dim], size)), dim)


def apart(x: Any, dim: int = 0) -> tuple[Any, ...]:
    return tuple(picked(x, dim, i) for i in range(x.shape[dim]))


def split_along(axis: Callable[[Any], int]) -> Function:
    """numpy's hsplit and its kin: a number of parts, or where they begin."""
    return lambda x, at: cr.split(x, at if isinstance(at, int) else list(at), axis(x))


def both(spread: Function) -> Function:
    """Deviation or variance, and the mean."""

    def ours(x: Any, dim: Any, *, correction: int | None = 1, keepdim: bool = False) -> Any:
        if isinstance(dim, bool):
            raise NotSupported("correction= has another name")
        ddof = 1 if correction is None else correction
        axes = None if dim in ((), []) else dim
        return spread(x, axes, ddof=ddof, keepdims=keepdim), cr.mean(x, axes, keepdims=keepdim)

    return ours


def upsampled(x: Any, output_size: Any, align_corners: bool, scale_factors: None = None) -> Any:
    if scale_factors is not None:
        raise NotSupported("a size beside other scales")
    return cr.interpolate(x, output_size, None, "bilinear", align_corners, antialias=True)


OPERATORS: Mapping[str, Function] = {
    "__getitem__": element,
    **{f"__r{name}__": f for name, f in {
        "add": lambda x, y: y + x, "sub": lambda x, y: y - x, "mul": lambda x, y: y * x, "div": lambda x, y: y / x,
        "mod": lambda x, y: y % x, "pow": lambda x, y: y**x, "matmul": lambda x, y: y @ x,
        "and": lambda x, y: y & x, "or": lambda x, y: y | x, "xor": lambda x, y: y ^ x}.items()},
    "rsub": lambda x, y: y - x, "positive": lambda x: +x,
    "bitwise_not": lambda x: ~x, "bitwise_left_shift": lambda x, y: x << y, "bitwise_right_shift": lambda x, y: x >> y,
    "T": lambda x: x.T, "t": lambda x: x.T, "H": lambda x: x.T, "mT": lambda x: x.mT, "mH": lambda x: x.mT,
    "t_copy": lambda x: x.T,
    **dict.fromkeys(("clone", "contiguous", "conj", "conj_physical", "alias_copy", "real", "resolve_conj",
                     "resolve_neg"), same),
    **{name: cast(dtype) for name, dtype in {
        "double": "f64", "float": "f32", "int": "i32", "long": "i64", "short": "i16", "char": "i8", "bool": "bool",
        }.items()},
    "sgn": lambda x: cr.sign(x), "clamp_max": lambda x, max: cr.minimum(x, max),
    "clamp_min": lambda x, min: cr.maximum(x, min), "masked_fill": lambda x, mask, value: cr.where(mask, value, x),
}  # fmt: skip
RESHAPED: Mapping[str, Function] = {
    "ravel": lambda x: x.reshape(-1), "view_copy": lambda x, shape: x.reshape(shape),
    "reshape_as": lambda x, other: x.reshape(other.shape), "view_as": lambda x, other: x.reshape(other.shape),
    "expand_as": lambda x, other: cr.broadcast_to(x, other.shape),
    "expand_copy": lambda x, shape: cr.broadcast_to(x, shape),
    "permute_copy": lambda x, dims: cr.transpose(x, dims),
    "transpose_copy": lambda x, dim0, dim1: cr.swapaxes(x, dim0, dim1),
    "unsqueeze_copy": lambda x, dim: cr.expand_dims(x, dim),
    "diagonal_copy": lambda x, offset=0, dim1=0, dim2=1: cr.diagonal(x, offset, dim1, dim2),
    "linalg.diagonal": lambda x, offset=0, dim1=-2, dim2=-1: cr.diagonal(x, offset, dim1, dim2),
    "fliplr": lambda x: cr.flip(x, 1), "flipud": lambda x: cr.flip(x, 0),
    "narrow": lambda x, dim, start, length: cut(x, dim, start, length),
    "narrow_copy": lambda x, dim, start, length: cut(x, dim, start, length),
    "select": picked, "chunk": parts, "unsafe_chunk": parts, "unbind": apart, "unbind_copy": apart,
    "hsplit": split_along(lambda x: 0 if x.ndim == 1 else 1), "vsplit": split_along(lambda x: 0),
    "dsplit": split_along(lambda x: 2),
    "hstack": lambda xs: cr.concatenate(xs, 0 if xs[0].ndim <= 1 else 1),
    "gather": lambda x, dim, index: cr.take_along_axis(x, index, dim), "msort": lambda x: cr.sort(x, 0),
    "linalg.vecdot": lambda x, y, dim=-1: (x * y).sum(dim),
    "std_mean": both(cr.std), "var_mean": both(cr.var),
    "aminmax": lambda x, dim=None, keepdim=False: (cr.min(x, dim, keepdim), cr.max(x, dim, keepdim)),
    "nn.functional.upsample_bilinear": lambda x, size=None, scale_factor=None: cr.interpolate(
        x, size, scale_factor, "bilinear", align_corners=True),
    "nn.functional.upsample_nearest": lambda x, size=None, scale_factor=None: cr.interpolate(x, size, scale_factor),
    "_upsample_bilinear2d_aa": upsampled,
    **{f"new_{name}": (lambda x, shape, f=f: f(shape, x.dtype)) for name, f in (
        ("zeros", cr.zeros), ("ones", cr.ones))},
}  # fmt: skip

ABSENT: Mapping[str, str] = {
    "linear algebra beyond products: factorisations, solvers, inverses": """
        cholesky cholesky_inverse cholesky_solve geqrf linalg.cholesky linalg.cholesky_ex linalg.det linalg.eig
        linalg.eigh linalg.eigvals linalg.eigvalsh linalg.householder_product linalg.inv linalg.inv_ex linalg.ldl_factor
        linalg.ldl_factor_ex linalg.ldl_solve linalg.lstsq linalg.lu linalg.lu_factor linalg.lu_factor_ex
        linalg.lu_solve linalg.matrix_norm linalg.matrix_power linalg.matrix_rank linalg.pinv linalg.qr linalg.slogdet
        linalg.solve linalg.solve_ex linalg.solve_triangular linalg.svd linalg.svdvals linalg.tensorinv
        linalg.tensorsolve logdet lu lu_solve lu_unpack matrix_exp ormqr pca_lowrank pinverse qr svd svd_lowrank
        triangular_solve""",
    "complex numbers, Fourier transforms and windows of signals (read from ONNX, and written as products there)": """
        angle cdouble cfloat chalf complex fft.fft fft.fft2 fft.fftn fft.fftshift fft.hfft fft.hfft2 fft.hfftn fft.ifft
        fft.ifft2 fft.ifftn fft.ifftshift fft.ihfft fft.ihfft2 fft.ihfftn fft.irfft fft.irfft2 fft.irfftn fft.rfft
        fft.rfft2 fft.rfftn imag isreal istft polar signal.windows.bartlett signal.windows.blackman
        signal.windows.cosine signal.windows.exponential signal.windows.gaussian signal.windows.general_cosine
        signal.windows.general_hamming signal.windows.hamming signal.windows.hann signal.windows.kaiser
        signal.windows.nuttall stft view_as_complex view_as_real""",
    "special functions that no layer here needs": """
        digamma erfinv i0 igamma igammac lgamma mvlgamma polygamma sinc special.airy_ai special.bessel_j0
        special.bessel_j1 special.bessel_y0 special.bessel_y1 special.chebyshev_polynomial_t
        special.chebyshev_polynomial_u special.chebyshev_polynomial_v special.chebyshev_polynomial_w special.entr
        special.erfcx special.hermite_polynomial_h special.hermite_polynomial_he special.i0e special.i1 special.i1e
        special.laguerre_polynomial_l special.legendre_polynomial_p special.log_ndtr special.modified_bessel_i0
        special.modified_bessel_i1 special.modified_bessel_k0 special.modified_bessel_k1 special.ndtr special.ndtri
        special.polygamma special.scaled_modified_bessel_k0 special.scaled_modified_bessel_k1
        special.shifted_chebyshev_polynomial_t special.shifted_chebyshev_polynomial_u
        special.shifted_chebyshev_polynomial_v special.shifted_chebyshev_polynomial_w special.spherical_bessel_j0
        special.xlog1py special.zeta xlogy""",
    "numpy's conveniences, a line of what is compared": """
        addbmm addcdiv addcmul addmm addmv addr atleast_1d atleast_2d atleast_3d baddbmm block_diag broadcast_tensors
        cartesian_prod cdist column_stack combinations copysign corrcoef cov cross cumulative_trapezoid deg2rad diag
        diag_embed diagflat diagonal_scatter diff dist dstack fill float_power fmax fmin frac gradient heaviside hypot
        inner isclose isin isneginf isposinf kron ldexp lerp linalg.cross linalg.multi_dot linalg.vander
        linalg.vector_norm logaddexp logaddexp2 logcumsumexp logit logspace meshgrid nan_to_num nanmean nansum
        nn.functional.pdist rad2deg renorm rot90 scalar_tensor select_scatter signbit slice_scatter sum_to_size
        tensor_split trapezoid trapz tril_indices triu_indices unfold unfold_copy unravel_index vdot vstack allclose
        new_full constant_pad_nd slice squeeze_copy split_with_sizes_copy unsafe_split count_nonzero
        index_add index_copy index_fill index_put put scatter_reduce index_reduce zero_ empty_like""",
    "order statistics and counts": """
        bincount bucketize cummax cummin frexp gcd histc histogram histogramdd kthvalue lcm median mode nanmedian
        nanquantile nextafter quantile searchsorted unique_consecutive hash_tensor""",
    "masked reductions: cr.where, then the reduction": """
        masked.amax masked.amin masked.argmax masked.argmin masked.cumprod masked.cumsum masked.log_softmax
        masked.logaddexp masked.logsumexp masked.mean masked.median masked.normalize masked.prod masked.softmax
        masked.softmin masked.std masked.sum masked.var""",
    "sizes that depend on data": "argwhere masked_scatter masked_select nonzero_static",
    "memory and objects: there are no strides, no storage and no numbers in a traced tensor": """
        as_strided as_strided_copy as_strided_scatter broadcast_shapes empty empty_permuted empty_strided item new_empty
        new_empty_strided resize_ resize_as_ to to_sparse""",
    "draws": """
        cauchy exponential geometric log_normal multinomial nn.functional.dropout2d nn.functional.dropout3d
        nn.functional.feature_alpha_dropout rand_like randint_like randn randn_like
        nn.functional.fractional_max_pool2d nn.functional.fractional_max_pool3d""",
    "types beyond PyTorch's float64 comparison": "bfloat16 byte half",
    "PyTorch's inner workings, sparse matrices and foreign kernels": """
        _batch_norm_with_update _chunk_cat _native_batch_norm_legit _segment_reduce _softmax_backward_data
        _unsafe_masked_index _unsafe_masked_index_put_accumulate jiterator_2inputs_2outputs
        jiterator_4inputs_with_extra_args jiterator_binary jiterator_binary_return_by_ref jiterator_unary
        max_pool2d_with_indices_backward native_batch_norm native_dropout_backward native_group_norm native_layer_norm
        sparse.mm sparse.sampled_addmm torch._scaled_mm torch._scaled_mm_v2 torch.ops.aten._efficient_attention_forward
        torch.ops.aten._flash_attention_forward torch.ops.aten._safe_softmax.default""",
    "compared among the modules": "nn.functional.multi_head_attention_forward",
    "read from ONNX, no function of the frontend": "grid_sampler_2d grid_sampler_3d nn.functional.grid_sample",
    "a product fused with a loss: cross_entropy of linear is the same": "nn.functional.linear_cross_entropy",
}  # fmt: skip
REFUSED: Mapping[str, str] = {  # what we say to the samples that PyTorch takes and we do not
    "__getitem__": "a mask",
    "std_mean": "correction=", "var_mean": "correction=",
    "_upsample_bilinear2d_aa": "beside other scales",
    "expand_copy": "-1 is not a size",
    "gather": "x has 1 axes, indices 2",
    "narrow": "not known while the model is traced",  # a start that is a tensor
}
